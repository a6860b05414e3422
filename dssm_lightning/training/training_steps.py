"""A training step, and what surrounds it: seeds, mined negatives, clipping, and rows without negatives."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau as WithoutMonitor

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.corpus_digest import corpus_digest
from dssm_lightning.data.resuming import forget_interrupted
from dssm_lightning.evaluation.logged_names import logged_names
from dssm_lightning.models.encoders import Backbone
from dssm_lightning.models.evaluating import evaluating
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.chunked_loss import RowLosses
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.distributed.sharded_tables import ShardedTables
from dssm_lightning.training.epoch_log import log_epoch
from dssm_lightning.training.evaluation_steps import EvaluationSteps
from dssm_lightning.training.hard_negative_mining import mine_pools
from dssm_lightning.training.negative_counts import KEY, NegativeCounts
from dssm_lightning.training.objective import describe_negatives, per_query_loss, row_weights
from dssm_lightning.training.optimizers import check_sparse_tables
from dssm_lightning.training.optimizers.changed_settings import differences, settings_of
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups
from dssm_lightning.training.rows_without_negatives import RowsWithoutNegatives
from dssm_lightning.training.teaching import KEY as SIGNATURES
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.training.trainer_checks import check_callbacks
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn
from dssm_lightning.utils.seeding import mix, run_seed, seed_torch


class TrainingSteps(EvaluationSteps):
    """The training of a two-tower model, whose parts the subclass :class:`~dssm_lightning.TwoTower` sets."""

    make_optimizer: OptimizerCallable
    make_lr_scheduler: LRSchedulerCallable | None
    lr_scheduler_interval: str
    cross_device_negatives: bool
    score_chunk_size: int | None
    memory: Memory | None
    teaching: Teaching | None
    without_negatives: RowsWithoutNegatives

    def __init__(self) -> None:
        super().__init__()
        self.negative_counts = NegativeCounts()
        self._of_corpus: dict[str, int | str] | None = None  # its digest, once a checkpoint was saved
        self._backbones: list[Backbone] = []
        self._negatives_described = False
        self.lr: float | None = None
        """The learning rate that Lightning's ``LearningRateFinder`` has found; None = the optimizer's own."""

    def setup(self, stage: str) -> None:
        """Make the metrics, and check the callbacks of a fit.

        Raises:
            UserError: the errors of :func:`~dssm_lightning.training.trainer_checks.check_callbacks`, and of
                :meth:`EvaluationSteps.setup`.
        """
        super().setup(stage)
        if stage == "fit":
            counted = ["train/negatives", "train/masked_positives"]
            counted += ["train/rows_without_negatives"] if self.loss.compares else []
            removed = "train/removed_negatives"
            counted += [removed, f"{removed}_step"] if self.negative_counts.guided else []
            logged = [*logged_names(self._evaluation("val"), self.datamodule), *counted]
            check_callbacks(self.trainer, self, logged, self._obstacle_to_one_rate())
            if self.loss.compares and self.datamodule.num_candidates == 1:
                raise UserError(
                    f"{type(self.loss).__name__} compares a candidate with others, and the corpus has only one: add "
                    "candidates to the table"
                )

    def _obstacle_to_one_rate(self) -> str | None:
        """Return why ``LearningRateFinder`` cannot find the learning rate of this model."""
        if self.make_lr_scheduler is not None:
            return "model.lr_scheduler sets the rate, and would replace the one that is found; leave it out at first"
        if getattr(self, "warm_start", None) is not None:
            return "it runs before model.warm_start takes the weights; leave one of the two out"
        if self._backbones:
            return "it runs before the weights of a Backbone are read; leave it out, and set the optimizer's lr"
        return None

    def configure_optimizers(self) -> Any:
        """Return the optimizer over all trained parameters, and its schedule.

        Raises:
            UserError: the optimizer refuses its settings, or cannot take the gradients of sparse tables.
        """
        try:
            optimizer = self.make_optimizer(parameter_groups(self))
        except ValueError as error:
            raise UserError(f"model.optimizer: {error}") from error
        clips = self._trainer is not None and bool(self.trainer.gradient_clip_val)
        check_sparse_tables(self, optimizer, clips_values=clips and self.trainer.gradient_clip_algorithm == "value")
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if self.lr is None else self.lr
        self._requested_optimizer = settings_of(optimizer)
        if self.make_lr_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(self.make_lr_scheduler, optimizer)}

    def _schedule(self, make: LRSchedulerCallable, optimizer: Optimizer) -> dict[str, Any]:
        try:
            scheduler = make(optimizer)
        except ValueError as error:
            raise UserError(f"model.lr_scheduler: {error}") from error
        schedule = {"scheduler": scheduler, "interval": self.lr_scheduler_interval}
        if isinstance(scheduler, ReduceLROnPlateau):
            return {**schedule, "monitor": scheduler.monitor}
        if isinstance(scheduler, WithoutMonitor):
            raise UserError(
                "model.lr_scheduler: ReduceLROnPlateau needs a metric; use lightning.pytorch.cli.ReduceLROnPlateau, "
                "with a monitor such as val/ndcg@10"
            )
        return schedule

    def on_train_start(self) -> None:
        """Warn where the optimizer of a checkpoint differs from the requested one."""
        if self.trainer.ckpt_path is None or self.lr is not None:  # a LearningRateFinder reads a checkpoint, too
            return
        for difference in differences(self._requested_optimizer, settings_of(self.trainer.optimizers[0])):
            warn(f"the optimizer of the checkpoint continues, not the requested one: {difference}")

    def on_train_epoch_start(self) -> None:
        """Mine hard negatives from the current model, for the samplers whose epoch it is."""
        data = self.datamodule
        due = [sampler for sampler in data.mined_samplers if sampler.due(self.current_epoch)]
        if due:
            with evaluating(self):
                corpus = self.embed_ranked()
                total = mine_pools(
                    due, data.mining_batches(), lambda query: self.score(query, corpus), self.current_epoch
                )
            log_info(f"epoch {self.current_epoch}: hard negatives of {total:,} queries are mined again")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed torch by the number of the batch, so that dropout does not depend on earlier draws."""
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        forget_interrupted(progress)
        seed_torch(mix(run_seed(), progress.total.completed, distributed.process_rank()), self.device)
        for backbone in self._backbones:
            backbone.start_epoch(self.current_epoch)  # here, since a resumed fit begins no epoch
        if not self._negatives_described:
            self._negatives_described = True
            log_info(describe_negatives(batch, self.cross_device_negatives, self.memory))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted mean loss over the rows of all processes that the loss can learn from."""
        weight = row_weights(batch, self.loss)
        losses = self.per_query_loss(batch, weight, self.negative_counts)
        if self.loss.compares:
            self.without_negatives.hold((weight > 0) & ~losses.compared)
            weight = weight * losses.compared
        share = distributed.sum_over_ranks(weight.sum()) / distributed.world_size()
        loss = losses.total / share.clamp(min=torch.finfo(share.dtype).tiny)
        if not loss.requires_grad and torch.is_grad_enabled():
            raise UserError(f"{type(self.loss).__name__}: the loss has no gradient; compute it from the scores' logits")
        self.log("train/loss", loss, batch_size=len(batch.row), prog_bar=True, sync_dist=True)
        if self.negative_counts.guided:
            removed = self.negative_counts.removed
            self.log("train/removed_negatives_step", removed, batch_size=len(batch.row), sync_dist=True)
        return loss

    def per_query_loss(
        self, batch: Batch, weight: Tensor | None = None, counts: NegativeCounts | None = None
    ) -> RowLosses:
        """Return a loss for each row against the candidates of every process, and their sum by these weights (B,)."""
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
            counts=counts,
            teaching=self.teaching,
            layouts=self.layouts() if self.loss.dims or self.loss.uses_likes else None,
        )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does; where processes share tables, by the norm over all of them."""
        if isinstance(self.trainer.strategy, ShardedTables) and gradient_clip_val:
            self.trainer.strategy.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make the step, and only then remember its batch: an interrupted step leaves no trace."""
        super().optimizer_step(*args, **kwargs)
        self.without_negatives.commit()
        self.negative_counts.commit()
        if self.memory is not None:
            self.memory.commit()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the counts of the epoch so far. A collective: every process must call it."""
        checkpoint["rows_without_negatives"] = self.without_negatives.total(self.device)
        checkpoint[KEY] = self.negative_counts.totals(self.device)
        if "schemas" in checkpoint:  # else there are no data
            self._of_corpus = self._of_corpus or corpus_digest(self.datamodule.candidates.to_series(0))
            checkpoint["corpus"] = self._of_corpus
        if self.teaching is not None:
            checkpoint[SIGNATURES] = self.teaching.signatures

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the counts of the epoch."""
        self.without_negatives.restart(checkpoint.get("rows_without_negatives", 0))
        self.negative_counts.restart(checkpoint)
        if self.teaching is not None and self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.teaching.compare(checkpoint)

    def on_train_epoch_end(self) -> None:
        """Log the negatives of a row, the logit scale, and how many rows had no negative to compare with."""
        log_epoch(self, self.loss, self.negative_counts, self.without_negatives)
