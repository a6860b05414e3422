"""A run on a GPU that stops after an epoch and is resumed ends with the very weights of an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.device_cases import made
from helpers.resuming import same
from helpers.small import small_trainer

pytestmark = pytest.mark.gpu

NAMES = ["SampledSoftmax(repeats='ignore', symmetric=False)", "attention, by query", "sparse bag", "memory", "mixed"]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A trainer that is deterministic makes all of torch so."""
    yield
    torch.use_deterministic_algorithms(False)


def run(name: str, folder: Path, epochs: int, ckpt_path: Path | None = None) -> Path:
    """Train up to an epoch with kernels whose sums have a fixed order, and return the checkpoint of its end."""
    model, data = made(name, folder)
    torch.manual_seed(3)
    trainer = small_trainer(folder, accelerator="gpu", devices=1, max_epochs=epochs, deterministic="warn")
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    path = folder / f"{epochs}-{'resumed' if ckpt_path else 'whole'}.ckpt"
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_undisturbed_one(tmp_path: Path, name: str) -> None:
    """No bound: the same kernels on the same GPU with the same batches."""
    whole = run(name, tmp_path, 3)
    resumed = run(name, tmp_path, 3, ckpt_path=run(name, tmp_path, 1))
    one, two = (torch.load(path, weights_only=True, map_location="cpu") for path in (whole, resumed))
    assert one["global_step"] == two["global_step"] > 0
    for key in ("state_dict", "optimizer_states", "epoch", "RetrievalDataModule", "rows_without_negatives"):
        assert same(one[key], two[key]), f"{key}: {differing(one[key], two[key])}"


def differing(one: Any, two: Any) -> dict[str, float]:
    """The greatest difference of each tensor of a state dict that differs."""
    if not isinstance(one, dict):
        return {}
    tensors = {name: value for name, value in one.items() if isinstance(value, torch.Tensor)}
    apart = {name: value for name, value in tensors.items() if not torch.equal(value, two[name])}
    return {name: float((value - two[name]).abs().max()) for name, value in apart.items()}


def test_a_checkpoint_of_a_gpu_continues_on_the_cpu_and_back(tmp_path: Path) -> None:
    model, data = made(NAMES[1], tmp_path)
    first = run(NAMES[1], tmp_path, 1)
    trainer = small_trainer(tmp_path, max_epochs=2)
    trainer.fit(model, data, ckpt_path=first, weights_only=True)
    trainer.save_checkpoint(tmp_path / "cpu.ckpt")
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    model, data = made(NAMES[1], tmp_path)
    trainer = small_trainer(tmp_path, accelerator="gpu", devices=1, max_epochs=3)
    trainer.fit(model, data, ckpt_path=tmp_path / "cpu.ckpt", weights_only=True)
    assert trainer.current_epoch == 3
