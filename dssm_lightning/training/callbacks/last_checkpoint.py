"""The checkpoint from which a run is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.training.run_folders import check_writable
from dssm_lightning.utils.errors import require_whole


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, from which a resumed fit continues exactly like an uninterrupted fit.

    The checkpoint is written every ``every_n_train_steps`` steps, at the end of each epoch, when ``max_steps`` or
    ``max_time`` end the fit, and when the fit is interrupted: by a signal
    (:class:`~dssm_lightning.training.callbacks.StopBetweenBatches`), or in a single process by any error.

    The last batch of an epoch and the validation after it are saved together. A fit that was killed in the validation
    resumes before the last batch. A fit that was interrupted in the validation resumes before the validation.

    ``last.ckpt`` does not change where no single step could be saved: one of several processes has an error; the loss
    is not finite; a resumed fit is interrupted before it trains; an error or a second Ctrl-C comes while the optimizer
    changes the weights. A stop during the accumulation of gradients (``accumulate_grad_batches``) is delayed until the
    optimizer step: no checkpoint holds accumulated gradients.

    Args:
        every_n_train_steps: number of steps between two checkpoints within an epoch; None = only at the end of epochs.

    Raises:
        UserError: ``every_n_train_steps`` is below 1.
        OSError: in ``setup``, the folder cannot be written.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import LastCheckpoint
        >>> trainer = Trainer(callbacks=LastCheckpoint(every_n_train_steps=500), accelerator="cpu", logger=False)
        >>> trainer.checkpoint_callback.filename
        'last'
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        super().__init__(filename="last", enable_version_counter=False)
        require_whole("last", "every_n_train_steps", every_n_train_steps)
        self.every_n_steps = every_n_train_steps
        self._saved_at = 0  # step of the newest checkpoint
        self._stop_waits = False  # for the end of an accumulation of gradients
        self._trains = False
        self._changes = 0  # the step to which the optimizer has begun to change the weights

    @property
    def state_key(self) -> str:
        """One key for every ``every_n_train_steps``."""
        return "LastCheckpoint"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the folder can be written."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero and not _is_dry_run(trainer):
            assert self.dirpath is not None
            check_writable(Path(self.dirpath))

    def state_dict(self) -> dict[str, Any]:
        """Return no state: the last checkpoint does not depend on earlier checkpoints."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore nothing."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on all states are those of one step; before, a resumed fit may have restored some of them."""
        self._trains, self._changes = True, 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Remember the step to which the weights change now."""
        self._changes = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if the step is due, or if the fit stops here; after the last batch, ``on_train_epoch_end`` saves."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        stop = trainer.should_stop or self._stop_waits
        trainer.should_stop, self._stop_waits = stop and stepped, stop and not stepped
        due = stepped and self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        if (due or stops) and not trainer.is_last_batch:
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save again before a validation within an epoch, so that a resumed fit repeats this validation."""
        if 0 < self._saved_at == trainer.global_step:
            self._save_before_validation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch, if the step is due or the fit stops here."""
        if not trainer.is_last_batch and (trainer.should_stop or 0 < self._saved_at == trainer.global_step):
            self._save(trainer, again=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if the epoch is complete; Lightning also calls this for an interrupted epoch."""
        if trainer.is_last_batch:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the reached step, if all processes are interrupted at the same step."""
        together = trainer.world_size == 1 or isinstance(exception, KeyboardInterrupt | SystemExit)
        changing = trainer.global_step < self._changes
        if not together or isinstance(exception, FloatingPointError) or not self._trains or changing:
            return
        if trainer.validating:
            self._save_before_validation(trainer)
        else:
            self._save(trainer)

    def _save_before_validation(self, trainer: Trainer) -> None:
        """Save as at the start of the validation: a resumed fit repeats the validation from its first batch."""
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.reset()
        progress.increment_ready()
        progress.increment_started()
        self._save(trainer, again=True)
        progress.reset()

    def _save(self, trainer: Trainer, again: bool = False) -> None:
        due = again or self._saved_at != trainer.global_step
        if due and not _is_dry_run(trainer) and trainer.state.fn == TrainerFn.FITTING:
            assert self.dirpath is not None
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt", weights_only=False)
            self._saved_at = trainer.global_step


def _is_dry_run(trainer: Any) -> bool:
    """Return whether nothing is saved. Lightning sets ``fast_dev_run`` without a type."""
    return bool(trainer.fast_dev_run or trainer.sanity_checking)
