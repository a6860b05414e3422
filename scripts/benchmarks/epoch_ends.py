"""A callback by which a fit's epochs are timed from outside of this package."""

from __future__ import annotations

import time

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class EpochEnds(Callback):
    """Notes the processor's seconds at the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Now; what follows, such as checkpoints, belongs to the next epoch."""
        self.ends.append(time.process_time())
