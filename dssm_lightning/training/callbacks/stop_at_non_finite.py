"""Stop a fit whose loss is not finite, and name the module and the rows where it arose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Features, Ragged

SHOWN = 5
"""Rows in the message."""


class NotFiniteError(FloatingPointError):
    """The loss is NaN or infinite."""


class StopAtNonFinite(Callback):
    """Stop a fit whose loss is NaN or infinite, and name the step, the rows of its batch and the module in the model.

    On a CPU every loss is checked before it changes a weight. The batch then passes the model a second time, to find
    the first module whose output is not finite.

    On a GPU, reading a loss waits for all queued work. There the losses are compared on the device, and the result is
    read every ``log_every_n_steps`` steps, when the logger waits as well, and before each checkpoint: no checkpoint
    holds weights that such a loss has changed. The message then names the step and its rows, but no module. To find the
    module, resume from ``last`` with ``--trainer.log_every_n_steps 1``: the resumed run repeats the same steps.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import StopAtNonFinite
        >>> trainer = Trainer(callbacks=StopAtNonFinite(), accelerator="cpu", logger=False)
        >>> StopAtNonFinite.waits(torch.tensor(0.5))  # a loss on a CPU is read at once
        False
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None  # the first step whose loss is not finite, or the largest int64
        self._rows: list[tuple[int, Tensor]] = []  # (step, rows) of the batches since the last check
        self._batch: Batch | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch."""
        self._batch = batch
        self._rows.append((trainer.global_step, batch.row))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Release the batch."""
        self._batch = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss, or compare it on the device for a later check."""
        step, loss = trainer.global_step, loss.detach()
        if not self.waits(loss):
            if not math.isfinite(loss.item()):
                self._stop(trainer, cast(TwoTower, pl_module), step, in_time=True)
            self._rows.clear()
            return
        if self._first is None:
            self._first = torch.full((), torch.iinfo(torch.int64).max, device=loss.device)
        self._first = torch.where(torch.isfinite(loss), self._first, self._first.clamp(max=step))
        if (step + 1) % _steps_between_logs(trainer) == 0:
            self._check(trainer, cast(TwoTower, pl_module), step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check the losses before a checkpoint is replaced."""
        self._check(trainer, cast(TwoTower, pl_module), None)

    @staticmethod
    def waits(loss: Tensor) -> bool:
        """Return whether reading the loss waits for its device."""
        return loss.device.type != "cpu"

    def _check(self, trainer: Trainer, module: TwoTower, step: int | None) -> None:
        if self._first is not None and (first := int(self._first)) < torch.iinfo(torch.int64).max:
            self._first = None
            self._stop(trainer, module, first, in_time=first == step)
        self._rows.clear()

    def _stop(self, trainer: Trainer, module: TwoTower, step: int, in_time: bool) -> None:
        rows = torch.cat([rows for number, rows in self._rows if number == step])
        if in_time:
            assert self._batch is not None
            module.on_train_batch_start(self._batch, 0)  # the same dropout as in the step
            with trainer.precision_plugin.forward_context():
                where, bad = first_not_finite(module, self._batch)
            rows = self._batch.row[bad.to(self._batch.row.device)]
        else:
            where = (
                "the weights have changed since; to find the module, resume from last with "
                "--trainer.log_every_n_steps 1"
            )
        raise NotFiniteError(
            f"the loss of step {step} (epoch {trainer.current_epoch}, both counted from 0) is not finite; {where}; "
            f"rows of the interactions: {_named(rows.cpu(), datamodule_of(trainer).data)}"
        )


def _steps_between_logs(trainer: Any) -> int:
    """Lightning sets ``log_every_n_steps`` without a type; 0 = no logs."""
    return max(1, int(trainer.log_every_n_steps))


def _named(rows: Tensor, data: Prepared) -> str:
    query, candidate = data.interactions.query[rows].tolist(), data.interactions.candidate[rows].tolist()
    triples = list(zip(rows.tolist(), query, candidate, strict=True))
    named = [f"{row} ({data.queries[q, 0]!r} with {data.candidates[c, 0]!r})" for row, q, c in triples[:SHOWN]]
    return ", ".join(named) + (f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else "")


@torch.no_grad()
def first_not_finite(module: TwoTower, batch: Batch) -> tuple[str, Tensor]:
    """Return where a forward pass is first not finite, and the rows (B,) bool for which it is not.

    If no row is found, all rows are true. Only the batch of this process is checked, without communication.
    """
    with _watched(module) as found:
        query, candidate = module.encode_query(batch.query), module.encode_candidate(batch.candidates.features)
        module.scorer(query, candidate)
    bad = ~(torch.isfinite(query).all(1) & torch.isfinite(candidate).all(1)[batch.target])  # (B,)
    if not found and distributed.world_size() == 1:
        bad = ~torch.isfinite(module.per_query_loss(batch).value)
    columns = {**_columns("query", batch.query), **_columns("candidate", batch.candidates.features)}
    weights = {f"weight {name}": weight for name, weight in module.named_parameters()}
    before = [name for name, values in {**columns, **weights}.items() if not torch.isfinite(values).all()]
    text = f"the outputs of all modules of the towers are finite, but {type(module.loss).__name__} is not"
    if found:
        text = f"the first module whose output is not finite is {found[0]}"
    if before:
        text += f", and before it {before[0]} is not finite"
    return text, bad if bad.any() else torch.ones_like(bad)


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """Yield a list to which modules whose output is not finite are added, in the order in which their calls end."""
    found: list[str] = []

    def check(name: str, part: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not torch.isfinite(output).all():
            found.append(f"{name} ({type(part).__name__})")

    handles = [
        part.register_forward_hook(lambda part, _, output, name=name: check(name, part, output))
        for name, part in module.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _columns(side: str, features: Features) -> dict[str, Tensor]:
    values = {name: column.values if isinstance(column, Ragged) else column for name, column in features.items()}
    floats = {name: v for name, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()}
    return {f"{side} feature {name!r}": value for name, value in floats.items()}
