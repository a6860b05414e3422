"""The LightningDataModule: declared columns in, batches out."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.data import resuming
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.evaluation_batches import ShardedBatches
from dssm_lightning.data.batching.shuffling import Order, QueryOrder, RowOrder
from dssm_lightning.data.batching.train_loader import TrainLoader
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.negatives import NegativeSampler
from dssm_lightning.data.negatives.frequency import Frequency
from dssm_lightning.data.resuming import Layout
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.setting_checks import check_liked_rows, check_training_weights, check_validation_interval
from dssm_lightning.data.splits.later_events import later_events
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.ragged import Features
from dssm_lightning.utils.seeding import Counter, run_seed


class RetrievalDataModule(RetrievalData, LightningDataModule):
    """The data of a retrieval model for a Lightning trainer: its loaders, and what a checkpoint keeps of them.

    Arguments and errors are those of :class:`~dssm_lightning.data.retrieval_data.RetrievalData`.

    Example:
        >>> from dssm_lightning.data.sources import Synthetic
        >>> from dssm_lightning.data.splits import PerQuery
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> text, item = HashedWords(name="text", num_buckets=100), Categorical(name="candidate_id")
        >>> data = RetrievalDataModule(Synthetic(60, 40), [text], [item], PerQuery(test=0.2), batch_size=32)
        >>> data.share
        (0, 1)
    """

    trainer: Any
    """The trainer; None without one."""

    @property
    def share(self) -> tuple[int, int]:
        """The number of this process and how many there are; processes that share tables count as one."""
        found = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return (0, 1) if found is None else (found["rank"], found["num_replicas"])

    # -- before batches -----------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Encode everything once, in one process of each machine."""
        self._folder = None
        self.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Map the cache into memory, in every process."""
        data = self.assemble().data
        if stage == "fit":
            check_training_weights(data.interactions.weight, self.assembler.rows)
            counts = {"queries": len(data.queries), "candidates": len(data.candidates), **data.report}
            log_info("data: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
            later = later_events(self.recipe.split, data.interactions)
            if later is not None:
                log_info(later.text)

    # -- batches ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> TrainLoader:
        """Return one epoch of this process's batches a pass, from where a checkpoint left off."""
        process_rank, world_size = self.share
        place = Counter(run_seed(), process_rank=process_rank)
        repeats = self.trainer is not None and bool(self.trainer.overfit_batches)
        loader = TrainLoader(self.assembler, self._order(place, world_size), place, self.progress, repeats)
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_validation_interval(self.trainer, len(loader))
        return loader

    def _order(self, place: Counter, world_size: int) -> Order:
        if self.batch_by == "row":
            return RowOrder(self.assembler.rows, self.batch_size, place, world_size)
        return QueryOrder(self.assembler.rows_by_query, self.batch_size, self.rows_per_query, place, world_size)

    def val_dataloader(self) -> ShardedBatches[EvaluationBatch]:
        """Return the validation queries or events; none where the split keeps no validation rows.

        Raises:
            UserError: there are none, and the command is ``validate``; none of them is a positive.
        """
        required = self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING
        if required and len(self.data.interactions.rows(VALIDATION)) == 0:
            raise UserError("the split keeps no validation rows: give it a `validation` part, or use test")
        check_liked_rows(self.data.interactions, VALIDATION)
        return self.evaluation_batches(VALIDATION)

    def test_dataloader(self) -> ShardedBatches[EvaluationBatch]:
        """Return the test queries or events.

        Raises:
            UserError: the split keeps no test rows, or none that is a positive.
        """
        if len(self.data.interactions.rows(TEST)) == 0:
            raise UserError("the split keeps no test rows: give it a `test` part, or use validate")
        check_liked_rows(self.data.interactions, TEST)
        return self.evaluation_batches(TEST)

    def predict_dataloader(self) -> ShardedBatches[Features]:
        """Return the features of the side that ``predict`` names."""
        return self.corpus_batches() if self.predict == "candidate" else self.query_batches()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; on the CPU, row numbers index the mapped data and nothing is copied."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    # -- resume -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return how far training has come and what samplers have learned: all that batches depend on, but the seed."""
        reached, whole = resuming.trained(self.progress, self.trainer)
        if whole:
            self.assembler.frequency.commit()
        learned = {name: part.state_dict() for name, part in self._learning.items()}
        return {
            "epoch": reached.epoch,
            "done": reached.done,
            "layout": self._layout()._asdict(),
            **{name: state for name, state in learned.items() if state},
        }

    def adapt(self, checkpoint: dict[str, Any]) -> None:
        """Fit a checkpoint of another number of processes, or of another batch size, to this fit.

        Raises:
            UserError: the order of batches does not allow it.
        """
        resuming.adapt(checkpoint, type(self).__qualname__, self._layout())

    def _layout(self) -> Layout:
        process_rank, world_size = self.share
        order = self._order(Counter(run_seed(), process_rank=process_rank), world_size)
        return Layout(run_seed(), world_size, order.shuffled.size, len(order))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue training from a checkpoint's place; other verbs need nothing of it."""
        progress = self.progress  # in place: a loader that exists already, as after a BatchSizeFinder, has it too
        progress.epoch, progress.done, progress.started = state_dict["epoch"], state_dict["done"], False
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            for name, part in self._learning.items():
                part.load_state_dict(state_dict.get(name, {}))

    @property
    def _learning(self) -> dict[str, NegativeSampler | Frequency]:
        """The parts that may learn during training."""
        parts = {"negatives": self.negatives, "frequency": self.frequency}
        return {name: part for name, part in parts.items() if part is not None}
