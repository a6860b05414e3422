"""Stop a fit between two batches on Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.utils import distributed
from dssm_lightning.utils.interrupts import wait_for_training
from dssm_lightning.utils.logger import log_info

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a fit that SIGTERM ended, by the convention of shells."""


class StopBetweenBatches(Callback):
    """Stop a fit before its next batch on Ctrl-C (SIGINT) and SIGTERM; a second Ctrl-C stops it immediately.

    Python raises ``KeyboardInterrupt`` at any place. In the queue of TensorBoard's writer this leaves a lock that is
    never released, and the fit hangs after everything is saved. Cluster schedulers send SIGTERM before they kill a
    job: Lightning's own handler saves nothing, and several processes then wait for each other.

    A fit never stops within a batch, nor between the batches of one ``accumulate_grad_batches``. The processes agree
    before each batch, so that a signal to one process stops all of them. Within a validation, in which processes may
    have different numbers of batches, several processes continue to its end.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import StopBetweenBatches
        >>> from dssm_lightning.training.callbacks.stop_between_batches import TERMINATED
        >>> trainer = Trainer(callbacks=StopBetweenBatches(), accelerator="cpu", logger=False)
        >>> TERMINATED  # the exit status after SIGTERM
        143
    """

    def __init__(self) -> None:
        self._requested = {signal.SIGINT: False, signal.SIGTERM: False}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers; Lightning restores the original handlers at the end of the fit."""
        self._requested = {signal.SIGINT: False, signal.SIGTERM: trainer.received_sigterm}
        wait_for_training(True)
        if threading.current_thread() is threading.main_thread():  # only this thread can set handlers
            for number in self._requested:
                signal.signal(number, self._request)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """After the fit, signals end the process as before; after an interrupt, there may be a checkpoint to write."""
        wait_for_training(False)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._requested[signal.SIGINT]:
            raise KeyboardInterrupt
        self._requested[signal.Signals(number)] = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop here, before a batch."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._stop_if_requested(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Also stop here: a resumed run repeats this validation."""
        self._stop_if_requested(pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Also stop here, if there is only one process."""
        if trainer.world_size == 1:
            self._stop_if_requested(pl_module)

    def _stop_if_requested(self, pl_module: LightningModule) -> None:
        interrupted, terminated = distributed.anywhere(list(self._requested.values()), pl_module.device)
        if terminated:
            log_info("SIGTERM: the fit stops before its next batch")
            raise SystemExit(TERMINATED)
        if interrupted:
            raise KeyboardInterrupt
