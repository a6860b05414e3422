"""A resumed fit remembers the checkpoints that the user's own ``ModelCheckpoint`` kept, wherever it is resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.resuming import Stop
from helpers.small import write_config
from lightning.pytorch.callbacks import Callback

from dssm_lightning.cli.main import main

SCORES = [0.5, 0.9, 0.3, 0.8, 0.2, 0.7, 0.1, 0.6]  # the best three are those of epochs 1, 3 and 5
BEST = {"epoch=1.ckpt": 0.9, "epoch=3.ckpt": 0.8, "epoch=5.ckpt": 0.7}


class Scores(Callback):
    """Logs a metric whose best values are known, and stops a run like a kill: before an epoch is saved."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.stop_at:
            raise Stop

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("score", SCORES[trainer.current_epoch])


def fit(config: Path, dirpath: Path | str | None, *options: str, stop_at: int | None = None) -> None:
    """Run the real command with a user's callback that keeps the best three."""
    keep = {"monitor": "score", "mode": "max", "save_top_k": 3, "filename": "{epoch}"}
    if dirpath is not None:
        keep["dirpath"] = str(dirpath)
    callbacks = [
        {"class_path": f"{__name__}.Scores", "init_args": {"stop_at": stop_at}},
        {"class_path": "ModelCheckpoint", "init_args": keep},
    ]
    main(["fit", f"--config={config}", f"--trainer.callbacks={json.dumps(callbacks)}", *options])


def kept(last: Path) -> tuple[dict[str, float], float]:
    """Return the files that the callback keeps, by their scores, and the best score."""
    states = torch.load(last, weights_only=True)["callbacks"]
    [state] = [state for key, state in states.items() if key.startswith("ModelCheckpoint") and "'score'" in key]
    files = {Path(path).name: round(float(score), 6) for path, score in state["best_k_models"].items()}
    return files, round(float(state["best_model_score"]), 6)


@pytest.mark.parametrize("dirpath", [None, "kept", "absolute"])
@pytest.mark.parametrize("where", ["here", "elsewhere", "moved"])
def test_a_resumed_fit_keeps_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dirpath: str | None, where: str
) -> None:
    config = write_config(tmp_path / "shop.yaml", trainer={"max_epochs": 8})
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    monkeypatch.chdir(first)
    folder = tmp_path / "kept" if dirpath == "absolute" else dirpath
    with pytest.raises(Stop):
        fit(config, folder, stop_at=4)
    run = Path("runs/shop/version_0")
    if where == "elsewhere":
        monkeypatch.chdir(other)
        run = first / run
    elif where == "moved":
        monkeypatch.chdir(tmp_path)
        shutil.move(first, tmp_path / "moved")
        monkeypatch.chdir(tmp_path / "moved")
    last = run / "checkpoints" / "last.ckpt"
    fit(config, folder, "--ckpt_path=last" if where == "here" else f"--ckpt_path={last}")
    assert kept(last) == (BEST, 0.9)
    place = {None: last.parent, "kept": (first if where == "elsewhere" else Path()) / "kept"}
    found = {path.name for path in place.get(dirpath, tmp_path / "kept").glob("epoch=*.ckpt")}
    assert found == set(BEST)
    assert not list(other.rglob("epoch=*"))


def test_another_folder_forgets_them_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path / "shop.yaml", trainer={"max_epochs": 5})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stop):
        fit(config, "one", stop_at=4)
    with pytest.warns(match="The dirpath has changed"):
        fit(config, "two", "--ckpt_path=last")
    assert [path.name for path in Path("two").iterdir()] == ["epoch=4.ckpt"]
