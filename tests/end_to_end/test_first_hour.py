"""`init`, `fit` and `test` with nothing edited, on small data sets of many kinds."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT

from dssm_lightning.cli.main import main

DATA = Path(os.environ.get("DSSM_DATA", "data"))
TASKS = {
    "films": "Recommendation",
    "likes": "Recommendation",
    "keywords": "Search by text",
    "foreign_keywords": "Search by text",
    "tasks": "Search by text",
    "questions": "Search by text",
    "raw_texts": "Search by text",
    "sentences": "Re-ranking of lists",
    "pictures": "Search by text",
    "clicks": "Recommendation",
    "news": "Recommendation",
    "shop": "Recommendation",
    "market": "Recommendation",
    "quotes": "Recommendation",
}
FITTED = {"films", "keywords", "sentences", "pictures", "quotes"}
"""One of each kind is also trained for two steps."""
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
SHORT += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--baselines=false"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name != "market"])  # a larger shop
def test_from_files_to_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    maker, _, need = import_module("first_hour_data").MAKERS[name]
    if need is not None and not (DATA / need).is_dir():
        pytest.skip(f"DSSM_DATA names no folder with {need}")
    words = maker(tmp_path, DATA.absolute())
    monkeypatch.chdir(tmp_path)
    path = main(["init", *words, "--output", "my.yaml"])
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith(f"# {TASKS[name]}: ")
    if name not in FITTED:
        return
    main(["fit", "--config", path, *SHORT])
    metric = yaml.safe_load(text)["checkpoint"]["monitor"].removeprefix("val/")
    quiet = ["--trainer.limit_test_batches=1", "--trainer.enable_progress_bar=false", "--baselines=false"]
    tested = main(["test", "--config", path, *quiet])
    assert 0 <= float(tested.trainer.callback_metrics[f"test/{metric}"]) <= 1


@pytest.mark.slow
def test_every_data_set_has_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    assert list(import_module("first_hour_data").MAKERS) == list(TASKS)
