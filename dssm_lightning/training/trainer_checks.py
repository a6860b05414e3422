"""Checks of a trainer's settings and callbacks with the model, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)

from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn
from dssm_lightning.utils.suggestions import did_you_mean

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
_OWN = ("lightning.", "pytorch_lightning.", "dssm_lightning.")


def check_precision(trainer: Any) -> None:
    """Refuse a precision whose weights are not float32: scores and losses are computed in float32.

    Raises:
        UserError: another precision.
    """
    if trainer.precision not in PRECISIONS:
        raise UserError(
            f"trainer.precision is {trainer.precision}, but weights, scores and losses are float32; possible are "
            f"{', '.join(PRECISIONS)}"
        )


def check_callbacks(trainer: Any, model: LightningModule, logged: Collection[str], one_rate: str | None) -> None:
    """Refuse callbacks that cannot work with the model, and warn of those that do not do what they seem to do.

    Args:
        trainer: the trainer of a fit, whose attributes Lightning leaves untyped.
        model: the model.
        logged: the names of the metrics that the model logs.
        one_rate: why no single learning rate can be found, or None.

    Raises:
        UserError: a callback monitors a metric that is never logged; a learning rate is to be found for a model that
            has several, or that does not start from its final initial weights.
    """
    callbacks: list[Callback] = trainer.callbacks
    _check_monitors(trainer, callbacks, model, logged)
    for callback in callbacks:
        if isinstance(callback, StochasticWeightAveraging):
            warn(
                "StochasticWeightAveraging leaves its average in the model in memory, and best.ckpt and last.ckpt do "
                "not hold it: use AveragedWeights, whose average is evaluated and saved"
            )
        if isinstance(callback, LearningRateFinder) and one_rate is not None:
            raise UserError(f"LearningRateFinder: {one_rate}")


def reads_tuners_file(trainer: Any) -> bool:
    """Return whether the checkpoint that is loaded is a file to which a tuner goes back, not one that a fit resumes."""
    path = trainer.ckpt_path
    return path is not None and Path(path).name.startswith((".lr_find_", ".scale_batch_size_"))


def keep_tuned_settings(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Let a resumed fit continue with the learning rate and the batch size that its tuners found.

    Lightning's tuners run before the state of the optimizer is restored, which is then lost: they are removed.

    Args:
        trainer: the trainer of a fit.
        checkpoint: the checkpoint that is loaded.
    """
    if reads_tuners_file(trainer):
        return
    data = datamodule_of(trainer)
    for tuner in [each for each in trainer.callbacks if isinstance(each, LearningRateFinder | BatchSizeFinder)]:
        trainer.callbacks.remove(tuner)
        if isinstance(tuner, BatchSizeFinder):
            data.batch_size = checkpoint[type(data).__qualname__]["layout"]["batch_size"]
        log_info(f"{type(tuner).__name__} does not run again: the fit continues with the checkpoint's settings")


def _check_monitors(trainer: Any, callbacks: list[Callback], model: LightningModule, logged: Collection[str]) -> None:
    others = [each for each in (*callbacks, model) if not type(each).__module__.startswith(_OWN)]
    rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks)
    validates = _validates(trainer)
    for callback in callbacks:
        own = type(callback).__module__.startswith("dssm_lightning.")  # BestCheckpoint checks its metric itself
        if own or not isinstance(callback, EarlyStopping | ModelCheckpoint) or callback.monitor is None:
            continue
        name, monitor = type(callback).__name__, callback.monitor
        counts = ("epoch", "step") if isinstance(callback, ModelCheckpoint) else ()
        known = monitor in logged or monitor in counts or (rates and monitor.startswith("lr-"))
        if not known and not others:  # a callback of the user may log it
            raise UserError(
                f"{name}: monitor {monitor!r} is never logged; there are {', '.join(logged)}"
                + did_you_mean(monitor, logged)
            )
        if isinstance(callback, EarlyStopping) and monitor.startswith("val/") and not validates:
            raise UserError(
                f"{name}: monitor {monitor!r} is never logged, because this fit does not validate "
                "(trainer.limit_val_batches is 0, or the split keeps no validation rows); monitor 'train/loss'"
            )


def _validates(trainer: Any) -> bool:
    has_rows = len(datamodule_of(trainer).val_dataloader()) > 0
    return bool(trainer.fast_dev_run) or (trainer.limit_val_batches != 0 and has_rows)
