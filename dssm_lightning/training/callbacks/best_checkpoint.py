"""The best checkpoint of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.logged_names import logged_names, unmeasured_objectives
from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.suggestions import did_you_mean


class BestCheckpoint(ModelCheckpoint):
    """Keep ``best.ckpt``, the best checkpoint by a monitored metric, and stop a fit that does not get better.

    Without validation rows the newest checkpoint is kept, and nothing stops the fit early.

    Args:
        monitor: a logged metric, such as ``val/ndcg@10``; None = keep the newest checkpoint.
        mode: whether a higher ("max") or a lower ("min") value is better.
        patience: stop after this many validations in a row that are not better than the best one, by Lightning's
            ``EarlyStopping``; None = train to the end. A resumed fit counts on, and takes the patience that it is
            given.

    Raises:
        UserError: a patience below 1, or without a monitored metric.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import BestCheckpoint
        >>> trainer = Trainer(callbacks=BestCheckpoint("val/ndcg@10", patience=3), accelerator="cpu", logger=False)
        >>> trainer.checkpoint_callback.monitor
        'val/ndcg@10'
    """

    def __init__(
        self, monitor: str | None = None, mode: Literal["min", "max"] = "max", patience: int | None = None
    ) -> None:
        require_whole("checkpoint", "patience", patience, hint="leave it out to train to the end")
        if monitor is None and patience is not None:
            raise UserError(f"checkpoint.patience is {patience}, but no metric is watched: set checkpoint.monitor")
        self._configure(monitor, mode)
        self.best_metrics: dict[str, float] = {}
        """All metrics at the step of the best checkpoint."""
        self.patience = patience
        self._stopper = None if monitor is None or patience is None else _stopper(monitor, mode, patience)

    def _configure(self, monitor: str | None, mode: Literal["min", "max"], each_epoch: bool | None = None) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=each_epoch,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """One key for every monitored metric, because the data can change the monitored metric."""
        return "BestCheckpoint"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Monitor nothing if there are no validation rows.

        Raises:
            UserError: ``patience``, and another ``EarlyStopping`` among the trainer's callbacks.
        """
        if self._stopper is not None and trainer.early_stopping_callback is not None:
            raise UserError(
                f"checkpoint.patience is {self.patience}, and trainer.callbacks has an EarlyStopping of its own: "
                "leave one of them out"
            )
        validated = stage != "fit" or len(datamodule_of(trainer).val_dataloader()) > 0
        if not validated and (self.monitor or "").startswith("val/"):
            self._configure(None, "max", each_epoch=True)  # whatever `check_val_every_n_epoch` is
            self._stopper = None
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do not train on if the resumed fit had stopped."""
        super().on_train_start(trainer, pl_module)
        if self._stopper is not None and self._stopper.wait_count >= self._stopper.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best checkpoint, keep its metrics, and stop without improvement."""
        before = self._state()
        super().on_validation_end(trainer, pl_module)
        self._keep_metrics(trainer, before)
        if self._stopper is not None:
            self._stopper.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best checkpoint, keep its metrics, and stop without improvement."""
        before = self._state()
        super().on_train_epoch_end(trainer, pl_module)
        self._keep_metrics(trainer, before)
        if self._stopper is not None:
            self._stopper.on_train_epoch_end(trainer, pl_module)

    def _state(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_k_models": dict(self.best_k_models)}

    def _keep_metrics(self, trainer: Trainer, before: dict[str, Any]) -> None:
        io = trainer.strategy.checkpoint_io
        unwritten = isinstance(io, AtomicCheckpointIO) and Path(self.best_model_path) in io.failed
        if trainer.strategy.broadcast(unwritten):  # only process 0 knows
            super().load_state_dict(before)  # the file was not written, so the earlier checkpoint is still the best
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        best = None if self.best_model_score is None else float(self.best_model_score)
        # among equal scores the first checkpoint is kept, and so are its metrics
        if self.monitor is None or now.get(self.monitor) == best != self.best_metrics.get(self.monitor):
            self.best_metrics = now

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with the metrics of the best checkpoint, and what early stopping has counted."""
        waited = {} if self._stopper is None else {"stopper": self._stopper.state_dict()}
        return {**super().state_dict(), "best_metrics": self.best_metrics, **waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state in a run that has ``best.ckpt``; the run folder may have moved."""
        assert self.dirpath is not None
        if self._stopper is not None and "stopper" in state_dict and state_dict["monitor"] == self.monitor:
            self._stopper.load_state_dict({**state_dict["stopper"], "patience": self.patience})
        best = Path(self.dirpath) / "best.ckpt"
        if best.is_file():
            here = {"dirpath": self.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
            scores = {str(best): score for score in state_dict["best_k_models"].values()}
            super().load_state_dict({**state_dict, **here, "best_k_models": scores})
            self.best_metrics = state_dict["best_metrics"]

    def restore_from_last_checkpoint(self) -> None:
        """Read the best score from ``last.ckpt``, after a fit in other processes (``ddp_spawn``)."""
        last = Path(self.best_model_path).with_name("last.ckpt")
        if self.best_model_score is None and self.monitor is not None and last.is_file():
            state = read_checkpoint(last)["callbacks"][self.state_key]
            self.monitor, self.best_model_score = state["monitor"], state["best_model_score"]
            self.best_metrics = state["best_metrics"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the name of the metric before training.

        Raises:
            UserError: the monitored metric is never logged.
        """
        evaluation, data = cast(Evaluation, cast(nn.ModuleDict, pl_module.evaluations)["val"]), datamodule_of(trainer)
        logged = logged_names(evaluation, data)
        if self.monitor is not None and self.monitor not in logged:
            hint = " (auroc needs labels, and the source has no label column)" if self.monitor == "val/auroc" else ""
            for name in unmeasured_objectives(data):
                if self.monitor.startswith(f"val/{name}/"):
                    hint = f" (no validation row is a positive of {name!r})"
            raise UserError(
                f"checkpoint.monitor {self.monitor!r} is never logged{hint}; there are {', '.join(logged)}"
                + did_you_mean(self.monitor, logged)
            )


def _stopper(monitor: str, mode: str, patience: int) -> EarlyStopping:
    """Return Lightning's early stopping. A metric that is missing or no number does not stop a fit by itself."""
    each_epoch = not monitor.startswith("val/")
    return EarlyStopping(
        monitor, 0.0, patience, mode=mode, strict=False, check_finite=False, check_on_train_epoch_end=each_epoch
    )
