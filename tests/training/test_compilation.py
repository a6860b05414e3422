"""Compiled towers: the same training and checkpoints, or an error before training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning import TwoTower
from dssm_lightning.features import HashedWords


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")  # of the compiler about machines without CUDA
def test_compiled_towers_train_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tower for both sides, which is compiled once; without dropout, so that the losses are equal."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    last, found = tmp_path / "last.ckpt", []
    for compiled in (False, True):
        torch.manual_seed(3)
        model = small_model(candidate_tower=None, compile_towers=compiled)
        trainer = small_trainer(tmp_path, limit_train_batches=3, limit_val_batches=0)
        trainer.fit(model, small_data(tmp_path, candidate=[HashedWords(name="text", num_buckets=300)]))
        assert (model.query_tower._compiled_call_impl is not None) == compiled
        trainer.save_checkpoint(last)
        saved = torch.load(last, weights_only=True)
        found.append((float(trainer.callback_metrics["train/loss"]), saved["state_dict"]))
    (loss, weights), (compiled_loss, compiled_weights) = found
    assert compiled_loss == pytest.approx(loss, rel=1e-4)
    assert list(compiled_weights) == list(weights)  # no `_orig_mod`
    for name, value in weights.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-3, atol=1e-3)
    loaded = TwoTower.load_from_checkpoint(last, weights_only=True)
    assert loaded.query_tower._compiled_call_impl is None


def test_a_missing_compiler_is_an_error_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    model = small_model(compile_towers=True)
    with pytest.raises(ValueError, match=r"compile_towers: .* cpu: RuntimeError: No working C\+\+ compiler found;"):
        small_trainer(tmp_path).fit(model, small_data(tmp_path))
    assert model.schemas is None  # nothing was built
