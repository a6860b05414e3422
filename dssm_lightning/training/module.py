"""The LightningModule: a two-tower model with a loss and an optimizer. The only place that joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.features.schema import Schemas
from dssm_lightning.losses import Loss
from dssm_lightning.models.factories import make, plain_settings
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import TowerFactory
from dssm_lightning.models.tower_checks import check_batch_statistics
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.checkpoint_model import checked
from dssm_lightning.training.compilation import check_compiler
from dssm_lightning.training.cross_batch_memory import Memory, check_use
from dssm_lightning.training.distributed.rank_agreement import check_run
from dssm_lightning.training.distributed.sharded_tables import ShardedTables, data_parallel_group
from dssm_lightning.training.fit_start import begin_fit, start_evaluation, start_fit
from dssm_lightning.training.frozen_backbones import backbones
from dssm_lightning.training.kept_checkpoints import find_kept_checkpoints
from dssm_lightning.training.rows_without_negatives import RowsWithoutNegatives
from dssm_lightning.training.teachers import GuidedNegatives, Teacher
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.training.trainer_checks import keep_tuned_settings, reads_tuners_file
from dssm_lightning.training.training_steps import TrainingSteps
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.trusted_classes import trusting


class TwoTower(TwoTowerModel, TrainingSteps):
    """A two-tower retrieval model for a Lightning trainer.

    Every swappable part is a factory: in YAML and in Python ``{class_path, init_args}``, which is saved with the
    model, or in Python any callable, which must be passed again to ``load_from_checkpoint``. The towers are built when
    the data's schemas are known (:meth:`build`).

    Args:
        query_tower: fitted schema -> tower.
        candidate_tower: fitted schema -> tower; None = the query tower serves both sides, whose features are equal.
        scorer: embeddings of both sides -> logits.
        loss: logits -> one value for each query.
        optimizer: parameters -> optimizer.
        lr_scheduler: optimizer -> learning-rate schedule.
        lr_scheduler_interval: whether the schedule counts epochs or optimizer steps, as a schedule with a
            :class:`~dssm_lightning.training.optimizers.schedules.WarmUp` should.
        tied_embeddings: feature -> feature (of either side) whose table it shares.
        cross_device_negatives: score the candidates of every process against the queries of this one.
        memory_size: also score against this many candidate embeddings of earlier batches
            (:class:`~dssm_lightning.training.cross_batch_memory.Memory`); None = only the batch's own.
        encode_chunk_size: encode at most this many rows at once and recompute each chunk in the backward pass
            (GradCache, arXiv 2101.06983, for any tower, inside autograd); None = all at once.
        score_chunk_size: score at most this many queries at once, with their share of the gradient; the (Q, C) matrix
            is then never in memory as a whole (:mod:`~dssm_lightning.training.chunked_loss`). On a CPU, a few hundred
            also make large batches faster.
        compile_towers: train with towers compiled by ``torch.compile``. The first batch then takes a minute, and
            dropout draws other numbers. Worth it on a GPU and for deep towers. Evaluation and serving of a saved model
            never compile.
        ks: cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them.
        truncate_dim: ``validate`` and ``test`` also measure embeddings cut to this width, or to each of these. A
            checkpoint does not remember this setting.
        warm_start: a checkpoint of an earlier run, on other data, whose weights ``fit`` starts from: see
            :func:`~dssm_lightning.training.warm_start.warm_start`. A checkpoint does not remember this setting.
        guide: leaves out negatives that a teacher, or the model itself, takes for unknown positives.
        teacher: scores what a loss such as ``KLDivergence`` learns from.

    Raises:
        UserError: a chunk size below 1; a teacher without a loss that reads it, or such a loss without a teacher.

    Example:
        >>> tower = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 8}}
        >>> adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}
        >>> model = TwoTower(tower, tower, scorer="Dot", loss="SampledSoftmax", optimizer=adam)
        >>> model.loss.compares
        True
    """

    def __init__(
        self,
        query_tower: TowerFactory,
        candidate_tower: TowerFactory | None,
        scorer: Callable[[], Scorer],
        loss: Callable[[], Loss],
        optimizer: OptimizerCallable,
        *,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["epoch", "step"] = "epoch",
        tied_embeddings: dict[str, str] | None = None,
        cross_device_negatives: bool = True,
        memory_size: int | None = None,
        encode_chunk_size: int | None = None,
        score_chunk_size: int | None = None,
        compile_towers: bool = False,
        ks: list[int] | None = None,
        truncate_dim: int | list[int] | None = None,
        warm_start: str | None = None,
        guide: Callable[[], GuidedNegatives] | None = None,
        teacher: Callable[[], Teacher] | None = None,
    ) -> None:
        towers = make(TowerFactory, query_tower), make(TowerFactory | None, candidate_tower)
        super().__init__(*towers, make(Callable[[], Scorer], scorer)(), tied_embeddings, encode_chunk_size)
        self.save_hyperparameters(ignore=["warm_start", "truncate_dim"], logger=False)
        self.loss: Loss = make(Callable[[], Loss], loss)()
        self.teaching, self.negative_counts.guided = Teaching.of(guide, teacher, self.loss), guide is not None
        self.make_optimizer: OptimizerCallable = make(OptimizerCallable, optimizer)
        self.make_lr_scheduler: LRSchedulerCallable | None = make(LRSchedulerCallable | None, lr_scheduler)
        require_whole("model", "score_chunk_size", score_chunk_size, hint="leave it out for all queries at once")
        self.cross_device_negatives, self.lr_scheduler_interval = cross_device_negatives, lr_scheduler_interval
        self.score_chunk_size, self.memory_size, self.compile_towers = score_chunk_size, memory_size, compile_towers
        self.ks, self.truncate_dims, self.warm_start = ks, truncate_dim, warm_start
        self.memory: Memory | None = None
        self.without_negatives = RowsWithoutNegatives()

    def __deepcopy__(self, memo: dict[int, Any]) -> TwoTower:
        """Return a copy with the same factories: a command line's factories hold its parser, which has no copy."""
        factories = (self.make_query_tower, self.make_candidate_tower, self.make_optimizer, self.make_lr_scheduler)
        memo.update({id(factory): factory for factory in factories})
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__setstate__(deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]  # torch's
        return copy

    # -- before training or evaluation --------------------------------------------------------------------------------

    def configure_callbacks(self) -> list[Callback]:
        """Pass the data what they need of the model: Lightning calls no other hook before the data are prepared."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            begin_fit(self.loss, self.teaching, self.datamodule if _has_data(self.trainer) else None)
        if _has_data(self.trainer):
            self.datamodule.encode_with(self.schemas)
            self.datamodule.train_on_liked_rows_only(not self.loss.uses_labels)
        return []

    def setup(self, stage: str) -> None:
        """Agree with the other processes on the run, and make the metrics.

        Raises:
            UserError: a memory without use; other settings or data than the other processes; FSDP; no compiler.
        """
        if stage == "fit" and self.compile_towers:
            check_compiler(self.trainer.strategy.root_device)
        group = data_parallel_group(self.trainer.strategy, stage)
        distributed.use_group(None)  # all processes must agree, also those that share tables
        check_run(dict(self.hparams), self.datamodule, self.trainer)
        distributed.use_group(group)
        if self.memory_size is not None:
            check_use(self.datamodule.negatives, self.cross_device_negatives, self.loss)
        super().setup(stage)

    def build(self, schemas: Schemas) -> None:
        """Build the towers for fitted schemas, and a memory as wide. A second call with equal schemas does nothing.

        Raises:
            UserError: other schemas than before (the difference is named); sides that do not fit together.
        """
        super().build(schemas)
        self.check_dims(self.loss.dims, type(self.loss).__name__)
        self.loss.build(self.widths)
        if self.memory_size is not None and self.memory is None:
            self.memory = Memory(self.memory_size, self.widths[1])
        self._backbones = backbones(self)

    def configure_model(self) -> None:
        """Build the towers for the data's schemas; ``load_from_checkpoint``, without a trainer, builds them later."""
        if self._trainer is not None and _has_data(self.trainer):
            with torch.device("cpu"):  # weights are drawn there; Lightning calls this hook with the trainer's device
                self.build(self.datamodule.schemas)
            if isinstance(strategy := self.trainer.strategy, ShardedTables):
                log_info(f"tables whose rows the processes share: {', '.join(strategy.share(self))}")
            if distributed.world_size() > 1:
                check_batch_statistics(self.towers, "several processes")

    def on_fit_start(self) -> None:
        """Take the weights of an earlier run, once, and prepare what does not change during the fit."""
        start_fit(self, self.loss, self._backbones, self.warm_start, self.teaching, compiled=self.compile_towers)
        self.warm_start = None

    def on_validation_start(self) -> None:
        """Prepare backbones as a fit does at its start, for a model that is evaluated without a fit."""
        start_evaluation(self, self._backbones)

    on_test_start = on_predict_start = on_validation_start

    # -- checkpoints --------------------------------------------------------------------------------------------------

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        *,
        trust: Sequence[str] = (),
        **kwargs: Any,
    ) -> TwoTower:
        """Load a model as Lightning does, from a path, a URL or an open file of any release.

        ``weights_only=False`` unpickles any object, which can run code of its author. ``trust`` names modules of yours
        that the file may use. Parts that were given as Python callables must be given again.

        Raises:
            UserError: a class that is not trusted; weights for another model than the settings describe.
        """
        if weights_only is False:
            return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, strict, False, **kwargs)
        with trusting(trust), checked(checkpoint_path, kwargs, strict is not False) as file:
            return super().load_from_checkpoint(file, map_location, hparams_file, strict, True, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the schemas and the counts; keep only plain settings, so that ``weights_only=True`` can load the file."""
        if self.schemas is not None:  # None: an OnExceptionCheckpoint saves after an error of the data
            checkpoint["schemas"] = self.schemas.to_json()
        super().on_save_checkpoint(checkpoint)
        for key in ("hyper_parameters", "datamodule_hyper_parameters"):
            if key in checkpoint:
                checkpoint[key] = plain_settings(checkpoint[key])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the towers that the weights belong to.

        Raises:
            UserError: the towers are built already, for other schemas.
        """
        saved = Schemas.from_json(checkpoint["schemas"])
        difference = None if self.schemas is None else saved.difference(self.schemas)
        if difference is not None:
            raise UserError(f"the checkpoint was trained with another schema than the data's: {difference}")
        self.build(saved)
        if self._trainer is None or not reads_tuners_file(self.trainer):
            self.warm_start = None  # a resumed run has started already
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            keep_tuned_settings(self.trainer, checkpoint)
            self.datamodule.adapt(checkpoint)
            find_kept_checkpoints(checkpoint, self.trainer)
        super().on_load_checkpoint(checkpoint)


def _has_data(trainer: Any) -> bool:
    return getattr(trainer, "datamodule", None) is not None
