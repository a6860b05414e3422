"""The LightningDataModule: declared columns in, batches out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from dssm_lightning.data import resuming
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.evaluation_batches import (
    ShardedBatches,
    shard_corpus,
    shard_evaluation,
    shard_features,
    shard_mining_queries,
)
from dssm_lightning.data.batching.ranked_candidates import Ranking, make_ranking
from dssm_lightning.data.batching.shuffling import Order, QueryOrder, RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.data.datamodule_checks import check_event_columns, check_settings
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.negatives import Hard, NegativeSampler
from dssm_lightning.data.negatives.frequency import Frequency
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import Recipe
from dssm_lightning.data.prepared_datamodule import CachedDataModule
from dssm_lightning.data.resuming import Layout
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import Split
from dssm_lightning.features import Feature
from dssm_lightning.features.schema import Schema
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features
from dssm_lightning.utils.seeding import Counter, run_seed


class RetrievalDataModule(CachedDataModule):
    """Who liked what, as batches.

    Args:
        source: where the raw tables come from.
        query: the features of a query.
        candidate: the features of a candidate.
        split: which interactions are held out.
        batch_size: training rows in a batch on each rank; in batches by query, queries.
        negatives: draws candidates beside those of the batch; None = in-batch only.
        mask_known: never take a candidate that the query is known to like as its negative.
        mask_duplicates: nor one that says the same as such a candidate, or that a query of the same words is known to
            like: by the columns of all text features of a side, where texts stand in the data under several ids.
        frequency: how often a training row's own candidate is each one, for losses that correct by ``log_q``; None =
            as counted in the training rows.
        batch_by: what is shuffled into batches: single rows, or queries with all their rows. A history by time is then
            one sequence for each query, which an encoder such as ``SelfAttention`` reads once for all of its events.
        rows_per_query: in batches by query, at most so many consecutive rows of each, at a place drawn anew in each
            epoch; None = all.
        evaluate: rank "by query" (all of its held-out candidates at once) or by "event" (each held-out interaction
            with its own context).
        rank: what a query is ranked against: the whole corpus, or "held_out": the candidates alone that the fold holds
            out, for a split that keeps whole candidates (``ColdCandidates``).
        slice_by: columns by which the test tells apart. One of the candidates', such as a picture's: those that have
            a value and those that have none, ``with_<column>`` and ``without_<column>``. Else one of the queries', such
            as their language: those of each value, ``<column>=<value>``.
        predict: what ``predict`` embeds.
        cache_dir: folder for encoded data.

    Raises:
        ValueError: a size below 1; no feature on a side; duplicates masked, but not what is known; ``rows_per_query``
            that is of no use, or beyond what a history looks back.
    """

    def __init__(
        self,
        source: Source,
        query: list[Feature],
        candidate: list[Feature],
        split: Split,
        batch_size: int = 1024,
        negatives: NegativeSampler | None = None,
        mask_known: bool = True,
        frequency: Frequency | None = None,
        batch_by: Literal["row", "query"] = "row",
        rows_per_query: int | None = None,
        evaluate: Literal["query", "event"] = "query",
        rank: Literal["corpus", "held_out"] = "corpus",
        slice_by: list[str] | None = None,
        predict: Literal["query", "candidate"] = "candidate",
        cache_dir: str = "cache",
        mask_duplicates: bool = False,
    ) -> None:
        check_settings(batch_size, query, candidate, mask_known, mask_duplicates, batch_by, rows_per_query)
        explicit = (None, None) if negatives is None else (negatives.column, negatives.file)
        super().__init__(Recipe(source, Schema(tuple(query)), Schema(tuple(candidate)), split, *explicit), cache_dir)
        self.batch_size, self.negatives = batch_size, negatives
        self.mask_known, self.mask_duplicates = mask_known, mask_duplicates
        self.frequency, self.batch_by, self.rows_per_query = frequency, batch_by, rows_per_query
        self.evaluate, self.rank, self.slice_by = evaluate, rank, slice_by or []
        self.predict = predict
        self.progress = Progress()

    def _assemble(self, data: cache.Prepared) -> Assembler:
        check_event_columns(data.event, self.evaluate, bool(self.mined_samplers))
        return Assembler(
            data,
            self.negatives,
            self.mask_known,
            self._liked_only(),
            self.batch_by == "query",
            self.frequency,
            self.mask_duplicates,
        )

    def _liked_only(self) -> bool:
        loss = None if self.trainer is None else getattr(self.trainer.lightning_module, "loss", None)
        return loss is not None and not loss.uses_labels

    @property
    def _share(self) -> tuple[int, int]:
        """This process's rank, and how many there are; ranks that share tables count as one."""
        share = None if self.trainer is None else self.trainer.distributed_sampler_kwargs
        return (0, 1) if share is None else (share["rank"], share["num_replicas"])

    @property
    def mined_samplers(self) -> list[Hard]:
        """The samplers whose negatives are mined from the model between epochs."""
        parts = [] if self.negatives is None else self.negatives.parts
        return [sampler for sampler in parts if isinstance(sampler, Hard)]

    # -- batches ------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> TrainLoader:
        """One epoch of this rank's batches a pass, from where a checkpoint left off."""
        process_rank, world_size = self._share
        place = Counter(run_seed(), process_rank=process_rank)
        return TrainLoader(self.assembler, self._order(place, world_size), place, self.progress)

    def _order(self, place: Counter, world_size: int) -> Order:
        rows = self.assembler.rows
        if self.batch_by == "row":
            return RowOrder(rows, self.batch_size, place, world_size)
        return QueryOrder(rows, self.data.interactions, self.batch_size, self.rows_per_query, place, world_size)

    def val_dataloader(self) -> ShardedBatches[EvaluationBatch]:
        """Validation queries or events; none where the split keeps no validation rows.

        Raises:
            ValueError: there are none, and ``validate`` asks for them.
        """
        asked = self.trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING
        if asked and len(self.data.interactions.rows(VALIDATION)) == 0:
            raise UserError("the split keeps no validation rows: give it a `validation` part, or use test")
        return self.evaluation_batches(VALIDATION)

    def test_dataloader(self) -> ShardedBatches[EvaluationBatch]:
        """Test queries or events.

        Raises:
            ValueError: the split keeps no test rows.
        """
        if len(self.data.interactions.rows(TEST)) == 0:
            raise UserError("the split keeps no test rows: give it a `test` part, or use validate")
        return self.evaluation_batches(TEST)

    def evaluation_batches(self, fold: int) -> ShardedBatches[EvaluationBatch]:
        """This rank's share of a fold to be ranked."""
        return shard_evaluation(self.assembler, fold, self.evaluate, self.ranking(fold).rows, *self._share)

    def ranking(self, fold: int) -> Ranking:
        """Which candidates a fold's queries are ranked against.

        Raises:
            ValueError: ``slice_by`` names what is no column, or a column of too many values.
        """
        held = self.data.interactions.candidate[self.data.interactions.rows(fold)]
        rows = torch.unique(held) if self.rank == "held_out" else None
        return make_ranking(rows, self.popularity, self.slice_by, self.candidates, self.data.queries)

    def corpus_batches(self, fold: int | None = None) -> ShardedBatches[Features]:
        """Features of the corpus, or of what a fold ranks, in order: this rank's contiguous share."""
        rows = None if fold is None else self.ranking(fold).rows
        return shard_corpus(self.assembler, rows, *self._share)

    def mining_batches(self) -> ShardedBatches[tuple[Tensor, Features]]:
        """The queries of the training rows with their features, this rank's share of them."""
        return shard_mining_queries(self.assembler, self.mined_samplers[0].queries, *self._share)

    def predict_dataloader(self) -> ShardedBatches[Features]:
        """Features of whatever ``predict`` names."""
        if self.predict == "candidate":
            return self.corpus_batches()
        return shard_features(self.assembler.query_features, len(self.data.queries), *self._share)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch; where everything is on the CPU, as it is (rows number the data and stay there)."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    # -- resume -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """How far training has come, and what was learnt on the way to draw and to weigh: with the seed, all that
        batches depend on.
        """
        reached, whole = resuming.trained(self.progress, self.trainer)
        if whole:
            self.assembler.frequency.commit()
        learnt = {name: part.state_dict() for name, part in self._learning.items()}
        return {
            "epoch": reached.epoch,
            "done": reached.done,
            "layout": self._layout()._asdict(),
            **{name: state for name, state in learnt.items() if state},
        }

    def adapt(self, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint of another number of ranks, or of another batch size, fit this fit.

        Raises:
            ValueError: the order of batches does not allow it.
        """
        resuming.adapt(checkpoint, type(self).__qualname__, self._layout())

    def _layout(self) -> Layout:
        process_rank, world_size = self._share
        order = self._order(Counter(run_seed(), process_rank=process_rank), world_size)
        return Layout(run_seed(), world_size, order.shuffled.size, len(order))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; who only measures needs nothing of it."""
        self.progress = Progress(state_dict["epoch"], state_dict["done"])
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            for name, part in self._learning.items():
                part.load_state_dict(state_dict.get(name, {}))

    @property
    def _learning(self) -> dict[str, NegativeSampler | Frequency]:
        """What may learn while it is trained on."""
        parts = {"negatives": self.negatives, "frequency": self.frequency}
        return {name: part for name, part in parts.items() if part is not None}
