"""Averaged weights: what is measured, kept and served is the mean of the weights on the way."""

from __future__ import annotations

import warnings
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.utils.errors import UserError


class AveragedWeights(EMAWeightAveraging):
    r"""Keeps an exponential moving average of the weights, which stands in for them wherever something is measured.

    After each optimizer step the average follows :math:`\bar w \leftarrow d\, \bar w + (1 - d)\, w`; it starts as the
    weights after the first. Validation ranks with it, a checkpoint's ``state_dict`` is it, so that test, predict and
    search use it, and the weights that training goes on with lie beside it. It costs the memory of a second model.

    Lightning's callback, with three things changed: buffers are copied, not averaged (a memory of embeddings holds
    row numbers); a fit that is interrupted in a validation saves neither for the other; and measuring a checkpoint,
    which needs no average of its own, is no reason for a warning.

    Args:
        decay: d; about 1 / (1 − d) steps are averaged over.
        every_n_steps: how often it follows.

    Source: Polyak and Juditsky, doi 10.1137/0330046 (averaging); Tarvainen and Valpola, arXiv 1703.01780.

    Raises:
        ValueError: a decay outside (0, 1), or fewer than one step; in ``setup``, a strategy that cuts the model up, of
            which no rank could keep an average.
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        if not 0 < decay < 1:
            raise UserError(f"AveragedWeights: decay is {decay}; it must lie between 0 and 1")
        if every_n_steps < 1:
            raise UserError(f"AveragedWeights: every_n_steps is {every_n_steps}; it must be at least 1")
        super().__init__(use_buffers=False, decay=decay, update_every_n_steps=every_n_steps)
        self._in_place = False  # whether the model holds the average just now

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the second model."""
        if stage == "fit" and not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
            raise UserError(
                f"AveragedWeights needs the whole model on each rank, and {type(trainer.strategy).__name__} cuts it "
                "up: take strategy ddp, or leave the average out"
            )
        with warnings.catch_warnings():  # what it says of sharded models is an error above
            warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback with a model that")
            super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in place."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._in_place = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._in_place = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the weights back, before they are saved."""
        if self._in_place:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with both; who only measures has the average already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
