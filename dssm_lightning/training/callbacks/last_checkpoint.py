"""The checkpoint that a run resumes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.training.run_folders import check_writable
from dssm_lightning.utils.errors import UserError


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, from which a fit goes on as if nothing had happened.

    It is written every so many steps, at each epoch's end, where ``max_steps`` or ``max_time`` end the fit, and when it
    is interrupted: by a signal (:class:`StopBetweenBatches`), or in a single process by any
    error. An epoch's last batch and its validation belong together: after a kill in a validation a fit goes on before
    both, after an interrupt before the validation. Other ranks than the one where an error came up are not where they
    could save: there ``last.ckpt`` stays what it was, as it does where the loss was not finite. A stop that is asked
    for within a sum of gradients (``accumulate_grad_batches``) waits for its end: no checkpoint holds a part of one.

    Args:
        every_n_train_steps: how often within an epoch; None = at its end only.

    Raises:
        ValueError: steps that are no number of them.
        OSError: in ``setup``, a folder that cannot be written.
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        super().__init__(filename="last", enable_version_counter=False)
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise UserError(f"last.every_n_train_steps must be at least 1, got {every_n_train_steps}")
        self.every_n_steps = every_n_train_steps
        self._saved_at = 0  # steps; nothing to save before the first
        self._stop_waits = False  # for a sum of gradients to be complete

    @property
    def state_key(self) -> str:
        """The same however often is saved."""
        return "LastCheckpoint"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find a folder that can be written."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # Lightning sets it, untyped
            assert self.dirpath is not None
            check_writable(Path(self.dirpath))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the last is the last, whatever was before."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if no batch will follow; an epoch's last one waits for the epoch's end."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        stop = trainer.should_stop or self._stop_waits
        trainer.should_stop, self._stop_waits = stop and stepped, stop and not stepped
        due = stepped and self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        if (due or stops) and not trainer.is_last_batch:
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What was saved before a validation within an epoch knows nothing of it."""
        if 0 < self._saved_at == trainer.global_step:
            self._save_before_validation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this was within an epoch and ended the fit, or was to be saved."""
        if not trainer.is_last_batch and (trainer.should_stop or 0 < self._saved_at == trainer.global_step):
            self._save(trainer, again=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless the epoch was broken off, which Lightning counts as its end."""
        if trainer.is_last_batch:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what was reached, where all ranks are here."""
        together = trainer.world_size == 1 or isinstance(exception, KeyboardInterrupt | SystemExit)
        if not together or isinstance(exception, FloatingPointError):
            return
        if trainer.validating:
            self._save_before_validation(trainer)
        else:
            self._save(trainer)

    def _save_before_validation(self, trainer: Trainer) -> None:
        """Save as one who has begun to validate and has no batch of it: who resumes begins anew."""
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.reset()
        progress.increment_ready()
        progress.increment_started()
        self._save(trainer, again=True)
        progress.reset()

    def _save(self, trainer: Trainer, again: bool = False) -> None:
        dry = trainer.fast_dev_run or trainer.sanity_checking  # type: ignore[attr-defined]  # Lightning sets it, untyped
        due = again or self._saved_at != trainer.global_step
        if due and not dry and trainer.state.fn == TrainerFn.FITTING:
            assert self.dirpath is not None
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt", weights_only=False)
            self._saved_at = trainer.global_step
