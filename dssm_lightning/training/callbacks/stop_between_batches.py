"""How a fit is interrupted, and what it then goes on from."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from dssm_lightning.utils import distributed

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a fit that SIGTERM ended, as shells have it."""


class StopBetweenBatches(Callback):
    """Ctrl-C (SIGINT) and SIGTERM end a fit before its next batch, a second Ctrl-C at once.

    Python raises ``KeyboardInterrupt`` wherever it is just then. Within the queue of TensorBoard's writer that leaves a
    lock which nobody opens again, and the fit, all saved, never ends. SIGTERM is what schedulers send before they
    kill: Lightning's own handler saves nothing, and lets several ranks wait for each other.

    A fit stops where nothing is half done: no batch, and with ``accumulate_grad_batches`` no sum of gradients. Ranks
    agree before each batch, so that a signal to one of them stops all; in a validation, which may have other numbers of
    batches on each, they go on to its end.
    """

    def __init__(self) -> None:
        self._asked = {signal.SIGINT: False, signal.SIGTERM: False}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, in place of Lightning, which puts back what it found once the fit has ended."""
        self._asked = {signal.SIGINT: False, signal.SIGTERM: trainer.received_sigterm}
        if threading.current_thread() is threading.main_thread():  # only it may
            for number in self._asked:
                signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked[signal.SIGINT]:
            raise KeyboardInterrupt
        self._asked[signal.Signals(number)] = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop here, where no batch is half done."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._stop_if_asked(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here as well: who resumes validates."""
        self._stop_if_asked(pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """And here, where no other rank could still be in the midst of something."""
        if trainer.world_size == 1:
            self._stop_if_asked(pl_module)

    def _stop_if_asked(self, pl_module: LightningModule) -> None:
        interrupted, terminated = distributed.anywhere(list(self._asked.values()), pl_module.device)
        if terminated:
            rank_zero_info("SIGTERM: the fit stops before its next batch")
            raise SystemExit(TERMINATED)
        if interrupted:
            raise KeyboardInterrupt
