"""Checkpoints are read as plain values, with an error for damaged files, and written atomically."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.checkpoint_files import read_checkpoint, read_schemas


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saved")
    trainer = small_trainer(place, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(small_model(), datamodule=small_data(place))
    trainer.save_checkpoint(place / "model.ckpt")
    return place / "model.ckpt"


def test_schemas_are_read_from_a_checkpoint(saved: Path) -> None:
    assert read_schemas(saved) == small_data(saved.parent).schemas
    assert read_checkpoint(saved)["state_dict"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_named(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"broken\.ckpt.*damaged or truncated"):
        read_checkpoint(broken)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text, weights, live = (tmp_path / name for name in ("text.ckpt", "weights.ckpt", "live.ckpt"))
    text.write_text("not a checkpoint")
    torch.save({"state_dict": {}}, weights)
    torch.save({"schemas": "{}", "model": torch.nn.Linear(1, 1)}, live)  # a live object could run code
    with pytest.raises(ValueError, match=r"text\.ckpt.*damaged or truncated"):
        read_checkpoint(text)
    with pytest.raises(ValueError, match=r"weights\.ckpt.*no schemas"):
        read_checkpoint(weights)
    with pytest.raises(ValueError, match=r"live\.ckpt holds torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(live)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_checkpoint_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves the old file; the next write deletes the rest."""
    place = tmp_path / "deep" / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, place)
    (place.parent / "last.ckpt.tmp10000000000000000000").write_bytes(b"half a file of a killed process")

    def fill_the_disk(content: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill_the_disk)
        with pytest.raises(OSError, match="No space left"):
            writer.save_checkpoint({"step": 2}, place)
    assert torch.load(place, weights_only=True) == {"step": 1}
    assert [path.name for path in place.parent.iterdir()] == ["last.ckpt"]
    writer.save_checkpoint({"step": 3}, place)
    assert torch.load(place, weights_only=True) == {"step": 3}
