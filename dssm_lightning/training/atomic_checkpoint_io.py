"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dssm_lightning.utils.logger import LOGGER


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there: a process that dies on the way leaves the old one whole.

    Lightning's own writing goes by way of the temporary folder, which may lie on another file system.

    Args:
        go_on: where a file cannot be written, log an error and go on training, with what was there before; ``failed``
            says which files are not what they should be.
    """

    def __init__(self, go_on: bool = False) -> None:
        self.go_on = go_on
        self.failed: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write, flush to the disk, and take the place of what was there.

        Raises:
            OSError: the disk is full or cannot be written, and ``go_on`` is false; what was there before is untouched.
        """
        place = Path(path)
        try:
            self._write(checkpoint, place)
            self.failed.discard(place)
        except OSError as error:
            if not self.go_on:
                raise
            self.failed.add(place)
            there = "what was there before still is" if place.is_file() else "there is none yet"
            LOGGER.error(
                "checkpoint %s of step %s cannot be written (%s); training goes on, and %s",
                *(place, checkpoint.get("global_step"), error.strerror or error, there),
            )

    def _write(self, checkpoint: dict[str, Any], place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        for stale in place.parent.glob(f"{place.name}.tmp*"):
            stale.unlink(missing_ok=True)
        temporary = place.with_name(f"{place.name}.tmp{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                _dump(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)
            _flush_folder(place.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _dump(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # what its writer met, and hides behind an error of its own
            raise error.__context__ from None
        raise


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can (Windows cannot open folders)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
