"""Averaged weights: evaluation, checkpoints and serving use a moving average of the trained weights."""

from __future__ import annotations

import warnings
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.utils.errors import UserError, require_fraction, require_positive, require_whole


class AveragedWeights(EMAWeightAveraging):
    r"""Keep an exponential moving average of the weights, and evaluate and save the average.

    After each optimizer step the average becomes :math:`\bar w \leftarrow d\, \bar w + (1 - d)\, w`. Its initial value
    is the weights after the first step. Validation uses the average. The ``state_dict`` of a checkpoint is the average,
    so that test, predict and search use it; the checkpoint also holds the weights with which training continues. The
    average needs the memory of a second model.

    This is Lightning's callback with three changes. Buffers are copied, not averaged (a memory of embeddings holds row
    numbers). A fit that is interrupted during validation puts the trained weights back before it saves. Evaluating a
    checkpoint, which needs no average, causes no warning.

    Args:
        decay: d; the average covers about 1 / (1 − d) steps.
        every_n_steps: number of optimizer steps between two updates of the average.

    Source: Polyak and Juditsky, doi 10.1137/0330046 (averaging); Tarvainen and Valpola, arXiv 1703.01780.

    Raises:
        UserError: ``decay`` is outside (0, 1), or ``every_n_steps`` is below 1; in ``setup``, the strategy splits the
            model, so that no process has all weights to average.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import AveragedWeights
        >>> trainer = Trainer(callbacks=AveragedWeights(decay=0.99), accelerator="cpu", logger=False)
        >>> trainer.callbacks[0].state_key
        'AveragedWeights'
    """

    def __init__(self, decay: float = 0.999, every_n_steps: int = 1) -> None:
        require_positive("AveragedWeights", "decay", decay)
        require_fraction("AveragedWeights", "decay", decay)
        require_whole("AveragedWeights", "every_n_steps", every_n_steps)
        super().__init__(use_buffers=False, decay=decay, update_every_n_steps=every_n_steps)
        self._in_place = False  # whether the model holds the average at the moment

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the model that holds the average."""
        if stage == "fit" and not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
            raise UserError(
                f"AveragedWeights needs the whole model in each process, but {type(trainer.strategy).__name__} splits "
                "the model: use strategy ddp, or leave AveragedWeights out"
            )
        with warnings.catch_warnings():  # its warning about sharded models is an error above
            warnings.filterwarnings("ignore", message="You're using the WeightAveraging callback with a model that")
            super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average into the model."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._in_place = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the trained weights back into the model."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._in_place = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the trained weights back into the model before they are saved."""
        if self._in_place:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the trained weights and the average for a fit; for an evaluation, ``state_dict`` is the average."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
