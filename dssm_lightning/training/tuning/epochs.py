"""What a study hears of a fit: the metric after each validation, and its value for each query."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from dssm_lightning.evaluation.evaluator import SEEN_KEPT, Evaluation
from dssm_lightning.evaluation.metrics import RankMetric

Ask = Callable[[float, int], bool]
"""The metric and the number of validations -> whether the fit should stop here, because others are better."""


class ReportEpochs(Callback):
    """Report the metric after each validation, keep the best one, and stop a fit that the study gives up.

    Args:
        metric: a metric of the validation, by its logged name.
        mode: whether higher or lower is better.
        gives_up: asked after each validation.
        deadline: the time, by ``time.monotonic``, after which the fit stops at the next validation; None = never.

    Example:
        >>> report = ReportEpochs("val/mrr", "max", lambda value, validations: False)
        >>> report.best, report.validations, report.pruned
        (None, 0, False)
    """

    def __init__(self, metric: str, mode: Literal["min", "max"], gives_up: Ask, deadline: float | None = None) -> None:
        self.metric, self.mode, self.gives_up, self.deadline = metric, mode, gives_up, deadline
        self.best: float | None = None
        """The best value so far."""
        self.rows: tuple[Tensor, Tensor] | None = None
        """(R,) the query and (R,) the metric of each ranked row at the best validation; None = it has no rows."""
        self.validations = 0
        self.pruned = self.out_of_time = False
        self._queries: list[Tensor] = []
        self._values: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to the metric, if it is a mean over queries."""
        evaluation = cast(Evaluation, cast(nn.ModuleDict, pl_module.evaluations)["val"])
        name = self.metric.removeprefix("val/")
        collection = evaluation.seen_kept if name.startswith(SEEN_KEPT) else evaluation.seen_masked
        metric = None if collection is None else dict(collection.items()).get(name)
        if isinstance(metric, RankMetric):
            self._listen(metric)

    def _listen(self, metric: RankMetric) -> None:
        update, anything = metric.update, cast(Any, metric)

        def keep(ranks: Any) -> None:
            self._values.append(metric.by_row(ranks).float().cpu())
            update(ranks)

        anything.update = keep  # torchmetrics, too, wraps the method of each instance

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the rows of the validation before."""
        self._queries, self._values = [], []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep whose rows these are."""
        self._queries.append(batch.query_row.cpu())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric, and stop if the study has seen enough."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.metric])
        if not math.isfinite(value):
            raise FloatingPointError(f"{self.metric} is {value} after validation {self.validations + 1}")
        self.validations += 1
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best, self.rows = value, self._found()
        gives_up = self.gives_up(value, self.validations)
        if trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs:
            return  # it has all its epochs
        self.pruned, self.out_of_time = gives_up, self.deadline is not None and time.monotonic() > self.deadline
        if self.pruned or self.out_of_time:
            trainer.should_stop = True

    def _found(self) -> tuple[Tensor, Tensor] | None:
        values = torch.cat(self._values) if self._values else torch.empty(0)
        queries = torch.cat(self._queries) if self._queries else torch.empty(0, dtype=torch.int64)
        return (queries, values) if len(values) == len(queries) > 0 else None
