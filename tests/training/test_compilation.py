"""Towers that are compiled: the same training and checkpoints, or a refusal before it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers.paths import CONFIGS
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning import TwoTower
from dssm_lightning.cli.main import main

DEFAULT = CONFIGS / "tldr.yaml"
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=3", "--trainer.limit_val_batches=0"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")  # of the compiler about machines without CUDA
def test_compiled_towers_train_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default config; its towers drop nothing, so that losses are the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    found = []
    for compiled in ("false", "true"):
        cli = main(["fit", "--config", str(DEFAULT), *SHORT, f"--model.compile_towers={compiled}"])
        assert (cli.model.query_tower._compiled_call_impl is not None) == (compiled == "true")
        assert cli.run is not None
        saved = torch.load(cli.run / "checkpoints" / "last.ckpt", weights_only=True)
        found.append((float(cli.trainer.callback_metrics["train/loss"]), saved["state_dict"]))
    (loss, weights), (compiled_loss, compiled_weights) = found
    assert compiled_loss == pytest.approx(loss, rel=1e-4)
    assert list(compiled_weights) == list(weights)  # no `_orig_mod`
    for name, value in weights.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-3, atol=1e-3)
    loaded = TwoTower.load_from_checkpoint(cli.run / "checkpoints" / "last.ckpt")
    assert loaded.query_tower._compiled_call_impl is None


def test_no_compiler_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    model = small_model(compile_towers=True)
    with pytest.raises(
        ValueError,
        match=r"compile_towers: torch.compile does not work on this machine for cpu: RuntimeError: No working C\+\+ "
        r"compiler found; install a C\+\+ compiler",
    ):
        small_trainer(tmp_path).fit(model, small_data(tmp_path))
    assert model.schemas is None  # nothing was built
