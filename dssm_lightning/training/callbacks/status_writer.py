"""The status of a run while it trains, as a file in its folder."""

from __future__ import annotations

import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.training.run_status import RunStatus, read_status, write_status


class StatusWriter(Callback):
    """Write ``status.json`` when the training begins and after each epoch; how it ends is written with the lock.

    Args:
        run: the run folder.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks.status_writer import StatusWriter
        >>> trainer = Trainer(callbacks=StatusWriter(Path("runs/shop/version_0")), accelerator="cpu", logger=False)
    """

    def __init__(self, run: Path) -> None:
        self.folder = run
        self._started, self._earlier = time.monotonic(), 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write that the run is running; the time counts on from that of earlier fits in its folder."""
        earlier = read_status(self.folder)
        self._started, self._earlier = time.monotonic(), 0.0 if earlier is None else earlier.seconds
        self._write(trainer, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the number of complete epochs; Lightning also calls this for an interrupted epoch."""
        if trainer.is_last_batch:
            self._write(trainer, trainer.current_epoch + 1)

    def _write(self, trainer: Trainer, epoch: int) -> None:
        if trainer.is_global_zero:
            seconds = self._earlier + time.monotonic() - self._started
            status = RunStatus("running", epoch, trainer.max_epochs, seconds=seconds, written=time.time())
            write_status(self.folder, status)
