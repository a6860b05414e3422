"""A loss that is not finite ends the fit, and says where it comes from."""

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
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Features, Ragged

SHOWN = 5  # rows in the message


class NotFiniteError(FloatingPointError):
    """The loss is NaN or infinite."""


class StopAtNonFinite(Callback):
    """Ends a fit whose loss is NaN or infinite, with the step, the rows of its batch and where in the model it arose.

    On a CPU each loss is looked at, before it changes a weight; the batch then goes through the model once more, and
    the first module whose output is not finite is named. On a GPU a look waits for all that is queued. There losses are
    only compared on the device, and looked at every ``log_every_n_steps`` steps, when the logger waits for them as
    well, and before each checkpoint: none holds weights that such a loss has changed. The step and its rows are
    known all the same; for the module resume from ``last`` with ``--trainer.log_every_n_steps 1``: the run takes the
    same way again.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None  # the first such step, or more than any
        self._rows: list[tuple[int, Tensor]] = []  # of the batches since the last look, by step
        self._batch: Batch | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch at hand."""
        self._batch = batch
        self._rows.append((trainer.global_step, batch.row))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let go of it."""
        self._batch = None

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look, or note for later."""
        step, loss = trainer.global_step, loss.detach()
        if not self.waits(loss):
            if not math.isfinite(loss.item()):
                self._stop(trainer, cast(TwoTower, pl_module), step, in_time=True)
            self._rows.clear()
            return
        if self._first is None:
            self._first = torch.full((), torch.iinfo(torch.int64).max, device=loss.device)
        self._first = torch.where(torch.isfinite(loss), self._first, self._first.clamp(max=step))
        often = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]  # Lightning sets it, untyped
        if (step + 1) % often == 0:
            self._look(trainer, cast(TwoTower, pl_module), step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look, before what cannot go on takes the place of what can."""
        self._look(trainer, cast(TwoTower, pl_module), None)

    @staticmethod
    def waits(loss: Tensor) -> bool:
        """Whether a look at the loss waits for its device."""
        return loss.device.type != "cpu"

    def _look(self, trainer: Trainer, module: TwoTower, step: int | None) -> None:
        if self._first is not None and (first := int(self._first)) < torch.iinfo(torch.int64).max:
            self._first = None
            self._stop(trainer, module, first, in_time=first == step)
        self._rows.clear()

    def _stop(self, trainer: Trainer, module: TwoTower, step: int, in_time: bool) -> None:
        rows = torch.cat([rows for number, rows in self._rows if number == step])
        if in_time:
            assert self._batch is not None
            module.on_train_batch_start(self._batch, 0)  # the same dropout again
            with trainer.precision_plugin.forward_context():
                where, bad = first_not_finite(module, self._batch)
            rows = self._batch.row[bad.to(self._batch.row.device)]
        else:
            where = "weights have changed since: resume from last with --trainer.log_every_n_steps 1 for the module"
        raise NotFiniteError(
            f"the loss of step {step} (epoch {trainer.current_epoch}, both counted from 0) is not finite; {where}; "
            f"rows of the interactions: {_named(rows.cpu(), trainer.datamodule.data)}"  # type: ignore[attr-defined]  # untyped
        )


def _named(rows: Tensor, data: Prepared) -> str:
    query, candidate = data.interactions.query[rows].tolist(), data.interactions.candidate[rows].tolist()
    triples = list(zip(rows.tolist(), query, candidate, strict=True))
    told = [f"{row} ({data.queries[q, 0]!r} with {data.candidates[c, 0]!r})" for row, q, c in triples[:SHOWN]]
    return ", ".join(told) + (f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else "")


@torch.no_grad()
def first_not_finite(module: TwoTower, batch: Batch) -> tuple[str, Tensor]:
    """Where in a forward pass a value first is not finite, and for which rows (B,) of the batch; all, if for none.

    It looks at this process' part alone: the others are elsewhere.
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
    text = f"no module of the towers gives such a value, {type(module.loss).__name__} does"
    if found:
        text = f"the first module whose output is not finite is {found[0]}"
    if before:
        text += f", and {before[0]} is not, before it"
    return text, bad if bad.any() else torch.ones_like(bad)


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[str]]:
    """A list that the modules whose output is not finite are added to, in the order of their calls' ends."""
    found: list[str] = []

    def look(name: str, part: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not torch.isfinite(output).all():
            found.append(f"{name} ({type(part).__name__})")

    handles = [
        part.register_forward_hook(lambda part, _, output, name=name: look(name, part, output))
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
