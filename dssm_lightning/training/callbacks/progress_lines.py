"""Progress as lines of the log, for log files, batch jobs and other programs: without a terminal there is no bar."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.progress import SECONDS, format_seconds


class ProgressLines(Callback):
    """Log a line at regular times within an epoch, and a line after each validation.

    Args:
        seconds: time between two lines within an epoch.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks.progress_lines import ProgressLines
        >>> lines = ProgressLines(seconds=60)
        >>> trainer = Trainer(callbacks=lines, accelerator="cpu", logger=False, max_epochs=3)
        >>> lines.line(trainer, done=100, batches_a_second=8)
        'epoch 1 of 3: batch 100 of inf, 8.0 batches a second'
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._began = self._last = 0.0
        self._batches = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = self._last = time.monotonic()
        self._batches = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the batch, the speed, the loss and the time left of this epoch."""
        now = time.monotonic()
        self._batches += 1
        if now - self._last >= self.seconds:
            self._last = now
            log_info(self.line(trainer, batch_idx + 1, self._batches / max(now - self._began, 1e-9)))

    def line(self, trainer: Trainer, done: int, batches_a_second: float) -> str:
        """Return the line after ``done`` batches of an epoch."""
        total, loss = trainer.num_training_batches, trainer.callback_metrics.get("train/loss")
        parts = [f"{_epoch(trainer)}: batch {done:,} of {total:,}", f"{batches_a_second:,.1f} batches a second"]
        parts += [] if loss is None else [f"loss {float(loss):.4f}"]
        if total < float("inf"):
            parts.append(f"{format_seconds((total - done) / batches_a_second)} left of this epoch")
        return ", ".join(parts)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the loss and the monitored metric."""
        metrics = trainer.callback_metrics
        monitors = [each.monitor for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
        names = [name for name in ("train/loss", *monitors) if name is not None and name in metrics]
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and names:
            log_info(f"{_epoch(trainer)}: " + ", ".join(f"{name} {float(metrics[name]):.4f}" for name in names))


def _epoch(trainer: Trainer) -> str:
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + ("" if last is None or last < 0 else f" of {last}")
