"""What a run writes: checkpoints, its settings, and embeddings on request; and how it is interrupted."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from numpy.typing import NDArray
from torch import nn

from dssm_lightning.atomic import whole
from dssm_lightning.checkpoints import read_checkpoint
from dssm_lightning.data.mapped import Spool
from dssm_lightning.evaluation import Evaluation


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
        super().on_validation_end(trainer, pl_module)
        self._remember(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this is the best, and remember its metrics."""
        super().on_train_epoch_end(trainer, pl_module)
        self._remember(trainer)

    def _remember(self, trainer: Trainer) -> None:
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

    def recall(self) -> None:
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
            raise ValueError(
                f"checkpoint.monitor {self.monitor!r} is never logged{hint}; there are {', '.join(logged)}"
            )


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, also when training is interrupted.

    Args:
        every_n_train_steps: how often within an epoch; None = at each epoch's end.
    """

    def __init__(self, every_n_train_steps: int | None = None) -> None:
        super().__init__(
            filename="last",
            every_n_train_steps=every_n_train_steps,
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_exception=True,
        )

    @property
    def state_key(self) -> str:
        """The same however often is saved."""
        return "LastCheckpoint"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: the last is the last, whatever was before."""


class StopBetweenBatches(Callback):
    """Ctrl-C (SIGINT) ends a fit before its next batch, a second one at once.

    Python raises ``KeyboardInterrupt`` wherever it is just then. Within the queue of TensorBoard's writer that leaves a
    lock which nobody opens again, and the fit, all saved, never ends.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None  # the handler that was there

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            self._asked, self._before = False, signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked or self._before is None:  # Lightning may put it back when the fit has ended
            raise KeyboardInterrupt
        self._asked = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop here, where no batch is half done."""
        if self._asked:
            raise KeyboardInterrupt

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop here as well."""
        if self._asked:
            raise KeyboardInterrupt

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the signal to whoever had it."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the signal to whoever had it."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` once; a resumed run adds ``config.resume-1.yaml`` and so on."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, which is a collective, and let the first rank write."""
        self.folder = trainer.log_dir
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings of a ``fit`` beside what it yields."""
        if stage != "fit" or self.folder is None:
            return
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / "config.yaml", 0
        while path.exists():
            number += 1
            path = folder / f"config.resume-{number}.yaml"
        self.parser.save(self.config, path, skip_none=False, multifile=False)


class EmbeddingWriter(Callback):
    """Writes what ``predict`` embeds as Parquet: id, vector, and head where each id has several vectors.

    Several ranks write a part each. Embeddings wait on the disk beside the file, not in memory, until all are there.

    Args:
        output: the file; with several ranks ``.<rank>`` comes before its suffix.
    """

    def __init__(self, output: str = "embeddings.parquet") -> None:
        self.output = Path(output)
        self._heads: list[Spool] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch's embeddings (H, B, d)."""
        if not self._heads:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._heads = [Spool(self.output.parent) for _ in outputs]
        for head, vectors in zip(self._heads, outputs.float().cpu(), strict=True):
            head.append(vectors.numpy())

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all embeddings of this rank."""
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        table = data.candidates if data.predict == "candidate" else data.data.queries
        heads = [head.mapped() for head in self._heads]
        self._heads.clear()
        share = -(-len(table) // trainer.world_size)
        ids = table.to_series(0)[trainer.global_rank * share : trainer.global_rank * share + len(heads[0])]
        path = self.output
        if trainer.world_size > 1:
            path = path.with_suffix(f".{trainer.global_rank}{path.suffix}")
        write_embeddings(path, ids, heads)


def write_embeddings(path: Path, ids: pl.Series, heads: list[NDArray[np.float32]]) -> None:
    """Write ids (n,) and vectors, (n, d) of each head, head by head, whole or not at all."""
    parts = []
    for head, vectors in enumerate(heads):
        flat = pl.Series("vector", vectors.reshape(-1))  # of the same memory
        part = pl.DataFrame([ids.alias("id"), flat.reshape((len(ids), vectors.shape[1]))])
        parts.append(part if len(heads) == 1 else part.with_columns(head=pl.lit(head, pl.Int64)))
    with whole(path) as temporary:
        pl.concat(parts, rechunk=False).write_parquet(temporary, row_group_size=1 << 16)
