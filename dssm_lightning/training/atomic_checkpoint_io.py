"""Atomic writing of checkpoints: a checkpoint file is either complete or unchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy, Strategy

from dssm_lightning.utils.logger import LOGGER


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file beside its target, then rename it: a crash leaves the old file intact.

    Lightning's own implementation writes to the system's temporary folder, which may be on another file system.

    Args:
        go_on: if a file cannot be written, log an error and continue training with the old file; ``failed`` holds the
            paths whose last write failed.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
        >>> with TemporaryDirectory() as folder:
        ...     AtomicCheckpointIO().save_checkpoint({"epoch": 3}, Path(folder) / "last.ckpt")
        ...     [path.name for path in Path(folder).iterdir()]
        ['last.ckpt']
    """

    def __init__(self, go_on: bool = False) -> None:
        self.go_on = go_on
        self.failed: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file, flush it to the disk, and replace the old file.

        Raises:
            OSError: the disk is full or cannot be written, and ``go_on`` is false. The old file is unchanged.
        """
        target = Path(path)
        try:
            self._write(checkpoint, target)
            self.failed.discard(target)
        except OSError as error:
            if not self.go_on:
                raise
            self.failed.add(target)
            kept = "the old file stays" if target.is_file() else "there is no such file yet"
            LOGGER.error(
                "checkpoint %s of step %s cannot be written (%s); training continues, and %s",
                *(target, checkpoint.get("global_step"), error.strerror or error, kept),
            )

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a file. Lightning would delete a folder with all that is in it: the path may stand in a checkpoint."""
        if Path(path).is_dir():
            LOGGER.warning("checkpoint %s is a folder, which is not deleted", path)
        else:
            Path(path).unlink(missing_ok=True)

    def _write(self, checkpoint: dict[str, Any], target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f"{target.name}.tmp*"):
            stale.unlink(missing_ok=True)
        temporary = target.with_name(f"{target.name}.tmp{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                _dump(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _flush_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _dump(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch hides the error of the disk behind its own
            raise error.__context__ from None
        raise


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system supports it (Windows cannot open folders)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def trainer_plugins(strategy: str | Strategy) -> list[Any]:
    """Return plugins that write checkpoints atomically, and under SLURM leave resuming to ``--ckpt_path last``."""
    plugins: list[Any] = []
    if strategy.startswith(("auto", "ddp")) if isinstance(strategy, str) else isinstance(strategy, DDPStrategy):
        plugins.append(AtomicCheckpointIO(go_on=True))  # sharded strategies write their own way
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins
