"""What a run writes: checkpoints and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt``: the best by a monitored metric, or the last where no validation rows are kept.

    Args:
        monitor: a logged metric, such as ``val/ndcg@10``; None = the last.
        mode: whether more or less of it is better.
    """

    def __init__(self, monitor: str | None = None, mode: Literal["min", "max"] = "max") -> None:
        self._keep(monitor, mode)
        self.best_metrics: dict[str, float] = {}
        """All metrics at the time of the best checkpoint."""

    def _keep(self, monitor: str | None, mode: Literal["min", "max"], each_epoch: bool | None = None) -> None:
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
        """The same whatever is monitored, which depends on the data."""
        return "BestCheckpoint"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Monitor nothing where there are no validation rows."""
        validated = stage != "fit" or len(trainer.datamodule.val_dataloader()) > 0  # type: ignore[attr-defined]  # untyped
        if not validated and (self.monitor or "").startswith("val/"):
            self._keep(None, "max", each_epoch=True)  # also where `check_val_every_n_epoch` says otherwise
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best, and remember its metrics."""
        before = self._kept()
        super().on_validation_end(trainer, pl_module)
        self._remember(trainer, before)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best, and remember its metrics."""
        before = self._kept()
        super().on_train_epoch_end(trainer, pl_module)
        self._remember(trainer, before)

    def _kept(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_k_models": dict(self.best_k_models)}

    def _remember(self, trainer: Trainer, before: dict[str, Any]) -> None:
        io = trainer.strategy.checkpoint_io
        unwritten = isinstance(io, AtomicCheckpointIO) and Path(self.best_model_path) in io.failed
        if trainer.strategy.broadcast(unwritten):  # the first rank alone knows
            super().load_state_dict(before)  # what the disk had no room for is not the best that is kept
            return
        now = {name: float(value) for name, value in trainer.callback_metrics.items()}
        best = None if self.best_model_score is None else float(self.best_model_score)
        # of equal scores the first is kept, as its checkpoint is
        if self.monitor is None or now.get(self.monitor) == best != self.best_metrics.get(self.monitor):
            self.best_metrics = now

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {**super().state_dict(), "best_metrics": self.best_metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it, where the folder is still that of the run: under any path, but not in another run."""
        assert self.dirpath is not None
        best = Path(self.dirpath) / "best.ckpt"
        if best.is_file():
            here = {"dirpath": self.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
            scores = {str(best): score for score in state_dict["best_k_models"].values()}
            super().load_state_dict({**state_dict, **here, "best_k_models": scores})
            self.best_metrics = state_dict["best_metrics"]

    def restore_from_last_checkpoint(self) -> None:
        """Look up what was best where a fit went on in other processes (``ddp_spawn``), in what they have saved."""
        last = Path(self.best_model_path).with_name("last.ckpt")
        if self.best_model_score is None and self.monitor is not None and last.is_file():
            state = read_checkpoint(last)["callbacks"][self.state_key]
            self.monitor, self.best_model_score = state["monitor"], state["best_model_score"]
            self.best_metrics = state["best_metrics"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the metric's name before anything is computed.

        Raises:
            ValueError: the monitored metric is never logged.
        """
        evaluation = cast(Evaluation, cast(nn.ModuleDict, pl_module.evaluations)["val"])
        logged = ["train/loss", *(f"val/{name}" for name in evaluation.names)]
        if self.monitor is not None and self.monitor not in logged:
            hint = " (auroc needs labels, and the source has no label column)" if self.monitor == "val/auroc" else ""
            raise UserError(
                f"checkpoint.monitor {self.monitor!r} is never logged{hint}; there are {', '.join(logged)}"
                + did_you_mean(self.monitor, logged)
            )
