"""The LightningModule: two sides that are measured, with a loss and an optimizer. The only place that joins them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.resuming import forget_interrupted
from dssm_lightning.features.schema import Schemas
from dssm_lightning.losses import Loss
from dssm_lightning.models.encoders import Backbone
from dssm_lightning.models.factories import make, plain_settings
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import TowerFactory
from dssm_lightning.models.tower_checks import check_batch_statistics
from dssm_lightning.models.two_tower import TwoTowerModel, check_chunk_size
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.chunked_loss import RowLosses
from dssm_lightning.training.compilation import check_compiler, compile_towers
from dssm_lightning.training.cross_batch_memory import Memory, check_use
from dssm_lightning.training.distributed.rank_agreement import check_run
from dssm_lightning.training.distributed.sharded_tables import ShardedTables, data_parallel_group
from dssm_lightning.training.evaluation_steps import EQUAL_ON_ALL, EvaluationSteps
from dssm_lightning.training.frozen_backbones import backbones, check_rest, keep_fixed_features, read_weights
from dssm_lightning.training.hard_negative_mining import evaluating, mine_pools
from dssm_lightning.training.objective import describe_negatives, per_query_loss
from dssm_lightning.training.optimizers import check_sparse_tables
from dssm_lightning.training.optimizers.changed_settings import differences, settings_of
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups
from dssm_lightning.training.rows_without_negatives import RowsWithoutNegatives
from dssm_lightning.training.warm_start import warm_start
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import mix, run_seed, seed_torch


class TwoTower(TwoTowerModel, EvaluationSteps):
    """Query and candidate each through a tower of their own, met in one score.

    Every swappable part is a factory: in YAML and in Python ``{class_path, init_args}``, which is saved with the
    model, or in Python any callable, which must be passed again to ``load_from_checkpoint``. The towers are built when
    the data's schemas are known (:meth:`build`).

    Args:
        query_tower: fitted schema -> tower.
        candidate_tower: likewise; None = the query tower serves both sides, which must then declare equal features.
        scorer: embeddings of both sides -> logits.
        loss: logits -> one value for each query.
        optimizer: parameters -> optimizer.
        lr_scheduler: optimizer -> learning-rate schedule.
        lr_scheduler_interval: whether the schedule counts epochs or optimizer steps, as one with a
            :class:`~dssm_lightning.training.optimizers.schedules.WarmUp` should.
        tied_embeddings: query feature -> candidate feature (or of any side) whose table it shares.
        cross_device_negatives: score every rank's candidates against this rank's queries.
        encode_chunk_size: encode so many rows at once and recompute each slice in the backward pass (GradCache,
            arXiv 2101.06983, for any tower, inside autograd); None = all at once.
        score_chunk_size: score so many queries at once, with their share of the gradient; the (Q, C) matrix is then
            never held whole (:mod:`~dssm_lightning.training.chunked_loss`). A few hundred make large batches faster
            on a CPU, too.
        memory_size: score against the last so many candidate embeddings of earlier batches as well
            (:class:`~dssm_lightning.training.cross_batch_memory.Memory`); None = the batch's own only.
        compile_towers: train with towers that ``torch.compile`` made; the first batch then takes a minute, and dropout
            draws other numbers. Worth it on a GPU, and for deep towers. What serves and measures a saved model is
            never compiled.
        ks: cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them.
        warm_start: a checkpoint of an earlier run, on other data, whose weights ``fit`` starts from: see
            :func:`~dssm_lightning.training.warm_start.warm_start`. No setting of the model: a checkpoint does not
            remember it.

    Raises:
        ValueError: a chunk size below 1.
    """

    def __init__(
        self,
        query_tower: TowerFactory,
        candidate_tower: TowerFactory | None,
        scorer: Callable[[], Scorer],
        loss: Callable[[], Loss],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None = None,
        tied_embeddings: dict[str, str] | None = None,
        cross_device_negatives: bool = True,
        encode_chunk_size: int | None = None,
        score_chunk_size: int | None = None,
        memory_size: int | None = None,
        compile_towers: bool = False,
        ks: list[int] | None = None,
        warm_start: str | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__(
            make(TowerFactory, query_tower),
            make(TowerFactory | None, candidate_tower),
            make(Callable[[], Scorer], scorer)(),
            tied_embeddings,
            encode_chunk_size,
        )
        self.save_hyperparameters(ignore="warm_start", logger=False)
        self.loss: Loss = make(Callable[[], Loss], loss)()
        self.make_optimizer: OptimizerCallable = make(OptimizerCallable, optimizer)
        self.make_lr_scheduler: LRSchedulerCallable | None = make(LRSchedulerCallable | None, lr_scheduler)
        self.lr_scheduler_interval = lr_scheduler_interval
        check_chunk_size("score_chunk_size", score_chunk_size)
        self.cross_device_negatives, self.score_chunk_size = cross_device_negatives, score_chunk_size
        self.memory_size, self.compile_towers = memory_size, compile_towers
        self.ks, self.warm_start = ks, warm_start
        self.memory: Memory | None = None
        self.without_negatives = RowsWithoutNegatives()
        self._backbones: list[Backbone] = []
        self._negatives_described = False

    def __deepcopy__(self, memo: dict[int, Any]) -> TwoTower:
        """A copy with the same factories: those that a command line gives hold its parser, which cannot be copied."""
        factories = (self.make_query_tower, self.make_candidate_tower, self.make_optimizer, self.make_lr_scheduler)
        memo.update({id(factory): factory for factory in factories})
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__setstate__(deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]  # torch's
        return copy

    # -- before anything runs -------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Agree with the other ranks on what is run.

        Raises:
            ValueError: a memory that this data's negatives, or the ranks, would leave without use; ranks with other
                settings or data; FSDP, or a strategy that does not know the tables; no compiler where towers are to be
                compiled; what :meth:`EvaluationSteps.setup` refuses.
        """
        if stage == "fit" and self.compile_towers:
            check_compiler(self.trainer.strategy.root_device)
        data, group = self.datamodule, data_parallel_group(self.trainer.strategy, stage)
        distributed.use_group(None)  # all must agree, those that share tables as well
        check_run(dict(self.hparams), data, self.trainer)
        distributed.use_group(group)
        if self.memory_size is not None:
            own = data.negatives is not None and data.negatives.per_row
            check_use(type(data.negatives).__name__ if own else None, self.cross_device_negatives)
        super().setup(stage)

    def build(self, schemas: Schemas) -> None:
        """Build the towers for fitted schemas, and a memory as wide. Again with equal ones: nothing happens.

        Raises:
            ValueError: other schemas than before (the difference is named); sides that do not fit together.
        """
        super().build(schemas)
        if self.memory_size is not None and self.memory is None:
            self.memory = Memory(self.memory_size, self.widths[1])
        self._backbones = backbones(self)

    def configure_model(self) -> None:
        """Build from the data's schemas (in ``load_from_checkpoint`` there is no trainer: nothing to do yet)."""
        if self._trainer is not None and self.trainer.datamodule is not None:  # type: ignore[attr-defined]  # untyped
            self.build(self.datamodule.schemas)
            if isinstance(self.trainer.strategy, ShardedTables):
                shared = self.trainer.strategy.share(self)
                rank_zero_info(f"rows are shared by ranks: {', '.join(shared)}")
            if distributed.world_size() > 1:
                check_batch_statistics(self.towers, "several processes")

    def on_fit_start(self) -> None:
        """Take the weights of an earlier run, once, and say what is new."""
        check_rest(self._backbones, self.trainer.strategy.model)
        read_weights(self._backbones)
        if self.warm_start is not None:
            assert self.schemas is not None
            told = warm_start(Path(self.warm_start), self, self.towers, self.schemas)
            rank_zero_info(f"warm start from {self.warm_start}; {'; '.join(told) or 'nothing is new'}")
            self.warm_start = None
        self._keep_fixed_features()
        if self.compile_towers:
            compile_towers(self.towers.values())

    def on_validation_start(self) -> None:
        """What a fit has done at its start, for a model that is measured without one."""
        read_weights(self._backbones)
        self._keep_fixed_features()

    on_test_start = on_predict_start = on_validation_start

    def _keep_fixed_features(self) -> None:
        keep_fixed_features(self.towers, self.datamodule.data, self.datamodule.folder)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the schemas and what is counted; keep only plain settings: ``weights_only=True`` can load the file."""
        assert self.schemas is not None
        checkpoint["schemas"] = self.schemas.to_json()
        checkpoint["rows_without_negatives"] = self.without_negatives.total(self.device)
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in checkpoint:
                checkpoint[key] = plain_settings(checkpoint[key])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the towers that the weights belong to.

        Raises:
            ValueError: the data's schemas, for which they are built already, are others.
        """
        saved = Schemas.from_json(checkpoint["schemas"])
        difference = None if self.schemas is None else saved.difference(self.schemas)
        if difference is not None:
            raise UserError(f"the checkpoint was trained with another schema than the data's: {difference}")
        self.build(saved)
        self.warm_start = None  # what is resumed has started already
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.datamodule.adapt(checkpoint)
        self.without_negatives.restart(checkpoint.get("rows_without_negatives", 0))

    # -- training -------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The optimizer over all that trains, and its schedule."""
        optimizer = self.make_optimizer(parameter_groups(self))
        clips = self._trainer is not None and bool(self.trainer.gradient_clip_val)
        check_sparse_tables(self, optimizer, clips_values=clips and self.trainer.gradient_clip_algorithm == "value")
        self._asked_of_optimizer = settings_of(optimizer)
        if self.make_lr_scheduler is None:
            return optimizer
        schedule = {"scheduler": self.make_lr_scheduler(optimizer), "interval": self.lr_scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        """Say where the optimizer of a checkpoint is not what was asked for."""
        for told in differences(self._asked_of_optimizer, settings_of(self.trainer.optimizers[0])):
            rank_zero_warn(f"the checkpoint's optimizer goes on, not the one that is asked for: {told}")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout of this batch is a function of its number, not of what was drawn before."""
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        forget_interrupted(progress)
        seed_torch(mix(run_seed(), progress.total.completed, distributed.process_rank()), self.device)
        for backbone in self._backbones:
            backbone.start_epoch(self.current_epoch)  # here: a fit that is resumed begins no epoch
        if not self._negatives_described:
            self._negatives_described = True
            rank_zero_info(describe_negatives(batch, self.cross_device_negatives, self.memory))

    def on_train_epoch_start(self) -> None:
        """Mine hard negatives from the model as it is, where they are due."""
        data = self.datamodule
        due = [sampler for sampler in data.mined_samplers if sampler.due(self.current_epoch)]
        if due:
            with evaluating(self):
                corpus = self._embedded()
                total = mine_pools(
                    due, data.mining_batches(), lambda query: self.score(query, corpus), self.current_epoch
                )
            rank_zero_info(f"epoch {self.current_epoch}: hard negatives of {total:,} queries are mined anew")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted mean loss over the rows of all ranks that can be learnt from."""
        weight = torch.ones(len(batch.row), device=self.device) if batch.weight is None else batch.weight
        if batch.label is not None and not self.loss.uses_labels:
            weight = weight * batch.label
        losses = self.per_query_loss(batch, weight)
        if self.loss.compares:
            self.without_negatives.hold((weight > 0) & ~losses.compared)
            weight = weight * losses.compared
        share = distributed.sum_over_ranks(weight.sum()) / distributed.world_size()
        loss = losses.total / share.clamp(min=torch.finfo(share.dtype).tiny)
        self.log("train/loss", loss, batch_size=len(batch.row), prog_bar=True, sync_dist=True)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning clips, and where ranks share tables, by the norm over all of them."""
        if isinstance(self.trainer.strategy, ShardedTables) and gradient_clip_val:
            self.trainer.strategy.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make the step; only then is its batch remembered, so that one that is interrupted leaves no trace."""
        super().optimizer_step(*args, **kwargs)
        self.without_negatives.commit()
        if self.memory is not None:
            self.memory.commit()

    def on_train_epoch_end(self) -> None:
        """Tell how many rows had nothing that they could be compared with."""
        if not self.loss.compares:
            return
        count = self.without_negatives.total(self.device)
        self.without_negatives.restart()
        self.log("train/rows_without_negatives", float(count), **EQUAL_ON_ALL)
        if count:
            rank_zero_info(
                f"epoch {self.current_epoch}: {count:,} rows had no valid negative (all were known positives, or none "
                "was drawn) and no weight"
            )

    def per_query_loss(self, batch: Batch, weight: Tensor | None = None) -> RowLosses:
        """One loss for each row, against the candidates of every rank, and their sum with these weights (B,)."""
        local = batch.candidates
        pool = Pool(self.encode_candidate(local.features), local.id, local.count, local.log_q)
        gather = self.cross_device_negatives and distributed.world_size() > 1
        return per_query_loss(
            batch,
            self.encode_query(batch.query),
            pool,
            self.scorer,
            self.loss,
            gather=gather,
            chunk_size=self.score_chunk_size,
            memory=self.memory,
            weight=weight,
        )
