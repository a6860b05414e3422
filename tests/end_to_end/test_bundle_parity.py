"""The bundle of every config in configs/ ranks as the module's evaluation does, from the same features."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.parity import parity_of
from helpers.paths import CONFIGS

from dssm_lightning.cli.main import main

STEPS = 4
"""Of training: those of long histories and of pictures take seconds each."""
OVERLAYS, OWN_FILES = {"ddp", "sharded", "multimodal-emoji"}, {"files"}
QUICK = {"emoji", "tldr"}
NAMES = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - OVERLAYS - OWN_FILES)


SMALL_PICTURES = """
data:
  candidate:
    - {class_path: Words, init_args: {name: title, column: name, max_tokens: 29999, num_embeddings: 30000}}
    - {class_path: Image, init_args: {name: picture, column: picture, size: 32}}
"""
"""Laid over the multimodal config, whose 1,900 pictures of 224 x 224 take minutes on a busy machine."""


def configs_of(name: str) -> list[str]:
    """The options that name the config; the multimodal one is laid over by the data that ship."""
    paths = [CONFIGS / f"{name}.yaml"]
    if name == "multimodal":
        small = Path("small_pictures.yaml")
        small.write_text(SMALL_PICTURES)
        paths += [CONFIGS / "multimodal-emoji.yaml", small]
    return [option for path in paths for option in ("--config", str(path))]


def trained(name: str) -> Path:
    """The checkpoint of a few steps, in the working folder."""
    brief = [
        "--trainer.max_epochs=1",
        f"--trainer.limit_train_batches={STEPS}",
        "--trainer.limit_val_batches=1",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--trainer.accelerator=cpu",
    ]
    run: Path = main(["fit", *configs_of(name), *brief]).run
    return run / "checkpoints" / "last.ckpt"


@pytest.mark.timeout(900)  # a fit, an export and a ranking of a whole corpus
@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in NAMES]
)
def test_a_bundle_ranks_as_the_evaluation(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = {"movielens-1": "ml-1", "medquad": "medquad", "emoji-styles": "emoji"}
    if name.startswith(tuple(folder)):
        wanted = next(found for start, found in folder.items() if name.startswith(start))
        root = Path(os.environ.get("DSSM_DATA", tmp_path))
        if not list(root.glob(f"{wanted}*")):
            pytest.skip(f"DSSM_DATA names no folder with {wanted}")
        monkeypatch.setenv("DSSM_DATA", str(root.resolve()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    found = parity_of(trained(name), tmp_path / "bundle", most=64 if name == "multimodal" else 256)
    assert found.queries > 20
    assert found.wrong == 0
    assert found.difference < 1e-4
