"""The LightningModule that joins towers, scorer, loss, optimizer and metrics. The only place that does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from dssm_lightning import distributed
from dssm_lightning.agreement import check_run
from dssm_lightning.batch import (
    Batch,
    EvaluationBatch,
    Features,
    at_least,
    joined,
    num_rows,
    take_features,
    to_device,
    with_items,
)
from dssm_lightning.chunks import RowLosses
from dssm_lightning.compilation import check_compiler, compile_towers
from dssm_lightning.counter import mix, run_seed
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.distributed import Pool
from dssm_lightning.encoders import Backbone
from dssm_lightning.evaluation import DetailedEvaluation, Evaluation, resolve_ks
from dssm_lightning.factories import make, plain_settings
from dssm_lightning.frozen import backbones, check_rest, keep_fixed_features, parameter_groups, read_weights
from dssm_lightning.losses import Loss
from dssm_lightning.memory import Memory, check_use
from dssm_lightning.metrics import RowValues
from dssm_lightning.mining import evaluating, mine
from dssm_lightning.objective import per_query_loss, told_negatives
from dssm_lightning.optimizers import check_sparse_tables
from dssm_lightning.pairing import (
    check_apart,
    check_batch_statistics,
    check_equal_features,
    check_histories,
    share_tables,
)
from dssm_lightning.schedules import differences, settings_of
from dssm_lightning.schema import Schemas
from dssm_lightning.scorers import Scorer
from dssm_lightning.sharded import ShardedTables, data_parallel_group
from dssm_lightning.towers import Tower, TowerFactory
from dssm_lightning.warm_start import warm_start

EQUAL_ON_ALL: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
"""How to log what every rank has found alike: the largest is each, to the last bit, as their mean might not be."""


class TwoTower(LightningModule):
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
            :class:`~dssm_lightning.schedules.WarmUp` should.
        tied_embeddings: query feature -> candidate feature (or of any side) whose table it shares.
        cross_device_negatives: score every rank's candidates against this rank's queries.
        encode_chunk_size: encode so many rows at once and recompute each slice in the backward pass (GradCache,
            arXiv 2101.06983, for any tower, inside autograd); None = all at once.
        score_chunk_size: score so many queries at once, with their share of the gradient; the (Q, C) matrix is then
            never held whole (:mod:`~dssm_lightning.chunks`). A few hundred make large batches faster on a CPU, too.
        memory_size: score against the last so many candidate embeddings of earlier batches as well
            (:class:`~dssm_lightning.memory.Memory`); None = the batch's own only.
        compile_towers: train with towers that ``torch.compile`` made; the first batch then takes a minute, and dropout
            draws other numbers. Worth it on a GPU, and for deep towers. What serves and measures a saved model is
            never compiled.
        ks: cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them.
        warm_start: a checkpoint of an earlier run, on other data, whose weights ``fit`` starts from: see
            :func:`~dssm_lightning.warm_start.warm_start`. No setting of the model: a checkpoint does not remember it.

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
        super().__init__()
        self.save_hyperparameters(ignore="warm_start", logger=False)
        self.make_query_tower: TowerFactory = make(TowerFactory, query_tower)
        self.make_candidate_tower: TowerFactory | None = make(TowerFactory | None, candidate_tower)
        self.scorer: Scorer = make(Callable[[], Scorer], scorer)()
        self.loss: Loss = make(Callable[[], Loss], loss)()
        self.make_optimizer: OptimizerCallable = make(OptimizerCallable, optimizer)
        self.make_lr_scheduler: LRSchedulerCallable | None = make(LRSchedulerCallable | None, lr_scheduler)
        self.lr_scheduler_interval = lr_scheduler_interval
        self.tied_embeddings = tied_embeddings or {}
        self.cross_device_negatives = cross_device_negatives
        for name, size in (("encode_chunk_size", encode_chunk_size), ("score_chunk_size", score_chunk_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1 (leave it out for all at once)")
        self.encode_chunk_size, self.score_chunk_size = encode_chunk_size, score_chunk_size
        self.memory_size, self.ks = memory_size, ks
        self.compile_towers = compile_towers
        self.memory: Memory | None = None
        self.warm_start = warm_start
        self.schemas: Schemas | None = None
        self._backbones: list[Backbone] = []
        self.evaluations = nn.ModuleDict()
        self.row_values: RowValues | None = None
        """How each query or event fared in the last test."""
        self._corpus: Tensor | None = None  # (N, D) while an evaluation lasts
        self._told_negatives = False
        self._not_compared: Tensor | int = 0  # rows of this epoch, on this rank, that had no valid negative
        self._not_compared_yet: Tensor | int = 0  # those of batches whose step is not made

    def __deepcopy__(self, memo: dict[int, Any]) -> TwoTower:
        """A copy with the same factories: those that a command line gives hold its parser, which cannot be copied."""
        factories = (self.make_query_tower, self.make_candidate_tower, self.make_optimizer, self.make_lr_scheduler)
        memo.update({id(factory): factory for factory in factories})
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__setstate__(deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]  # torch's
        return copy

    # -- building: the one place where data shape the model -------------------------------------------------------

    def build(self, schemas: Schemas) -> None:
        """Build the towers for fitted schemas. Again with equal ones: nothing happens.

        Raises:
            ValueError: other schemas than before (the difference is named); sides that do not fit together.
        """
        if self.schemas is not None:
            difference = self.schemas.difference(schemas)
            if difference is not None:
                raise ValueError(f"the model was built for another schema than the data's: {difference}")
            return
        self.query_tower = self.make_query_tower(schemas.query)
        if self.make_candidate_tower is None:
            check_equal_features(schemas)
            self.candidate_tower = self.query_tower
        else:
            self.candidate_tower = self.make_candidate_tower(schemas.candidate)
        check_apart(self.towers)
        extra = sum(tower.bias is not None for tower in self.towers.values())  # and the constant that meets each
        self.scorer.check_widths(self.query_tower.output_dim + extra, self.candidate_tower.output_dim + extra)
        if self.encode_chunk_size is not None:
            check_batch_statistics(self.towers, "encode_chunk_size")
        share_tables(self.towers, self.tied_embeddings)
        check_histories(schemas, self.towers)
        if self.memory_size is not None:
            self.memory = Memory(self.memory_size, self.candidate_tower.output_dim + extra)
        self._backbones = backbones(self)
        self.schemas = schemas

    @property
    def towers(self) -> dict[str, Tower]:
        """Both towers by side."""
        return {"query": self.query_tower, "candidate": self.candidate_tower}

    def setup(self, stage: str) -> None:
        """Metrics, for which the size of the corpus must be known.

        Raises:
            ValueError: embeddings are to be written, and are of no use without the scorer; a memory that this data's
                negatives, or the ranks, would leave without use; ranks with other settings or data; FSDP, or a strategy
                that does not know the tables; no compiler where towers are to be compiled.
        """
        if stage == "predict":
            self.scorer.check_indexable("predict")
        if stage == "fit" and self.compile_towers:
            check_compiler(self.trainer.strategy.root_device)
        data, group = self.trainer.datamodule, data_parallel_group(self.trainer.strategy, stage)  # type: ignore[attr-defined]  # Lightning sets it, untyped
        distributed.use_group(None)  # all must agree, those that share tables as well
        check_run(dict(self.hparams), data, self.trainer)
        distributed.use_group(group)
        if self.memory_size is not None:
            own = data.negatives is not None and data.negatives.per_row
            check_use(type(data.negatives).__name__ if own else None, self.cross_device_negatives)
        val, test = data.ranking(VALIDATION), data.ranking(TEST)
        detailed = DetailedEvaluation.of(test, self.ks, data.labelled)
        plain = Evaluation(resolve_ks(self.ks, val.size), data.labelled)
        self.evaluations = nn.ModuleDict({"val": plain, "test": detailed})

    def configure_model(self) -> None:
        """Build from the data's schemas (in ``load_from_checkpoint`` there is no trainer: nothing to do yet)."""
        if self._trainer is not None and self.trainer.datamodule is not None:  # type: ignore[attr-defined]  # as above
            self.build(self.trainer.datamodule.schemas)  # type: ignore[attr-defined]  # as above
            if isinstance(self.trainer.strategy, ShardedTables):
                shared = self.trainer.strategy.share(self)
                rank_zero_info(f"rows are shared by ranks: {', '.join(shared)}")
            if distributed.world_size() > 1:
                check_batch_statistics(self.towers, "several processes")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the schemas and what is counted; keep only plain settings: ``weights_only=True`` can load the file."""
        assert self.schemas is not None
        checkpoint["schemas"] = self.schemas.to_json()
        checkpoint["rows_without_negatives"] = self._rows_without_negatives()
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
            raise ValueError(f"the checkpoint was trained with another schema than the data's: {difference}")
        self.build(saved)
        self.warm_start = None  # what is resumed has started already
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.trainer.datamodule.adapt(checkpoint)  # type: ignore[attr-defined]  # Lightning sets it, untyped
        self._not_compared = checkpoint.get("rows_without_negatives", 0) if distributed.rank() == 0 else 0  # of all

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

    # -- forward --------------------------------------------------------------------------------------------------

    def encode_query(self, features: Features) -> Tensor:
        """(B, …) -> (B, D); D counts the query's bias, and the constant 1 that meets a candidate's."""
        embedding = self._encode(self.query_tower, self.embed_histories(features))
        return embedding if self.candidate_tower.bias is None else nn.functional.pad(embedding, (0, 1), value=1.0)

    def embed_histories(self, features: Features) -> Features:
        """The same columns, with embeddings in place of the candidates that histories are made of."""
        return {name: with_items(column, self.encode_candidate) for name, column in features.items()}

    def encode_candidate(self, features: Features) -> Tensor:
        """(C, …) -> (C, D), what the index stores; D counts the constant 1 that meets a query's bias, and its own."""
        embedding = self._encode(self.candidate_tower, features)
        if self.query_tower.bias is None:
            return embedding
        vector, bias = embedding.tensor_split([self.candidate_tower.output_dim], dim=-1)  # (C, 0) without a bias
        return torch.cat([vector, torch.ones_like(vector[:, :1]), bias], dim=-1)

    def forward(self, query: Features, candidate: Features) -> Tensor:
        """(Q, …), (C, …) -> (Q, C) logits."""
        logits = self.scorer(self.encode_query(query), self.encode_candidate(candidate))
        assert isinstance(logits, Tensor)
        return logits

    def _encode(self, tower: Tower, features: Features) -> Tensor:
        total, size = num_rows(features), self.encode_chunk_size
        if size is None or total <= size or not torch.is_grad_enabled():
            return tower(features)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
        slices = torch.split(torch.arange(total, device=self.device), size)
        parts = [checkpoint(tower, take_features(features, rows), use_reentrant=False) for rows in slices]
        return torch.cat(parts)

    # -- training -------------------------------------------------------------------------------------------------

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

    def on_train_start(self) -> None:
        """Say where the optimizer of a checkpoint is not what was asked for."""
        for told in differences(self._asked_of_optimizer, settings_of(self.trainer.optimizers[0])):
            rank_zero_warn(f"the checkpoint's optimizer goes on, not the one that is asked for: {told}")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout of this batch is a function of its number, not of what was drawn before."""
        number = self.trainer.fit_loop.epoch_loop.batch_progress.total.completed  # `ready` counts interrupted ones
        seed = mix(run_seed(), number, distributed.rank())
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times as long
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        for backbone in self._backbones:
            backbone.start_epoch(self.current_epoch)  # here: a fit that is resumed begins no epoch
        if not self._told_negatives:
            self._told_negatives = True
            rank_zero_info(told_negatives(batch, self.cross_device_negatives, self.memory))

    def on_train_epoch_start(self) -> None:
        """Mine hard negatives from the model as it is, where they are due."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        due = [sampler for sampler in data.mined_samplers if sampler.due(self.current_epoch)]
        if due:
            with evaluating(self):
                batches = data.corpus_batches()
                corpus = self.embed_corpus(batches, len(batches.numbers))
                total = mine(due, data.mining_batches(), lambda query: self.score(query, corpus), self.current_epoch)
            rank_zero_info(f"epoch {self.current_epoch}: hard negatives of {total:,} queries are mined anew")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted mean loss over the rows of all ranks that can be learnt from."""
        weight = torch.ones(len(batch.row), device=self.device) if batch.weight is None else batch.weight
        if batch.label is not None and not self.loss.uses_labels:
            weight = weight * batch.label
        losses = self.per_query_loss(batch, weight)
        if self.loss.compares:
            self._not_compared_yet = self._not_compared_yet + ((weight > 0) & ~losses.compared).sum()
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
        self._not_compared, self._not_compared_yet = self._not_compared + self._not_compared_yet, 0
        if self.memory is not None:
            self.memory.commit()

    def on_train_epoch_end(self) -> None:
        """Tell how many rows had nothing that they could be compared with."""
        if not self.loss.compares:
            return
        count, self._not_compared = self._rows_without_negatives(), 0
        self.log("train/rows_without_negatives", float(count), **EQUAL_ON_ALL)
        if count:
            rank_zero_info(
                f"epoch {self.current_epoch}: {count:,} rows had no valid negative (all were known positives, or none "
                "was drawn) and no weight"
            )

    def _rows_without_negatives(self) -> int:
        return int(distributed.sum_over_ranks(torch.as_tensor(self._not_compared, device=self.device)))

    def per_query_loss(self, batch: Batch, weight: Tensor | None = None) -> RowLosses:
        """One loss for each row, against the candidates of every rank, and their sum with these weights (B,)."""
        local = batch.candidates
        pool = Pool(self.encode_candidate(local.features), local.id, local.count, local.log_q)
        gather = self.cross_device_negatives and distributed.world_size() > 1
        query = self.encode_query(batch.query)
        return per_query_loss(
            batch,
            query,
            pool,
            self.scorer,
            self.loss,
            gather=gather,
            chunk_size=self.score_chunk_size,
            memory=self.memory,
            weight=weight,
        )

    # -- evaluation over the whole corpus -------------------------------------------------------------------------

    def embed_corpus(self, batches: Iterable[Features], share: int) -> Tensor:
        """(N, D) every candidate's embedding, each rank embedding its share, of so many candidates."""
        parts = (self._measured(self.encode_candidate, part) for part in batches)
        return distributed.gather_rows(joined(parts, share))

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        """(Q, …), (N, D) -> (Q, N) logits of queries with the embedded corpus."""
        return self._measured(lambda features: self.scorer(self.encode_query(features), corpus), query)

    def _measured(self, make: Callable[[Features], Tensor], features: Features) -> Tensor:
        """What is made of each row, alike to the last bit wherever the rows are cut, as far as kernels allow."""
        return make(at_least(to_device(features, self.device), 8, self.device))[: num_rows(features)]

    def on_validation_start(self) -> None:
        """What a fit has done at its start, for a model that is measured without one."""
        read_weights(self._backbones)
        self._keep_fixed_features()

    def _keep_fixed_features(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        keep_fixed_features(self.towers, data.data, data.folder)

    on_test_start = on_predict_start = on_validation_start

    def _embed_ranked(self, fold: int) -> None:
        batches = self.trainer.datamodule.corpus_batches(fold)  # type: ignore[attr-defined]  # Lightning sets it, untyped
        self._corpus = self.embed_corpus(batches, len(batches.numbers))

    def on_validation_epoch_start(self) -> None:
        """Embed what is ranked once for this evaluation."""
        self._embed_ranked(VALIDATION)

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Rank a batch of queries."""
        self._rank("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of all queries."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Embed what is ranked once for this evaluation."""
        self._embed_ranked(TEST)

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> Tensor:
        """Rank a batch of queries; what else is made of the scores (Q, N) is a callback's."""
        return self._rank("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of all queries."""
        self._log_metrics("test")

    def predict_step(self, batch: Features, batch_idx: int) -> Tensor:
        """(H, B, d) what an index holds of whatever side the data module predicts: its embeddings, by head."""
        side = self.trainer.datamodule.predict  # type: ignore[attr-defined]  # Lightning sets it, untyped
        encode = self.encode_query if side == "query" else self.encode_candidate
        return self.scorer.vectors(self._measured(encode, batch))

    def _rank(self, stage: str, batch: EvaluationBatch) -> Tensor:
        assert self._corpus is not None
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        scores = self.score(batch.query, self._corpus)
        evaluation.update(scores, batch)
        return scores

    def _log_metrics(self, stage: str) -> None:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        metrics = {f"{stage}/{name}": value for name, value in evaluation.compute().items()}
        self.log_dict(metrics, **EQUAL_ON_ALL)
        if isinstance(evaluation, DetailedEvaluation):
            self.row_values = evaluation.by_row()
        evaluation.reset()
        self._corpus = None
