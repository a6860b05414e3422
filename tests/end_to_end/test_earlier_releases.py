"""Checkpoints and configs of earlier releases, kept in ``tests/golden``, load in every later release."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.paths import GOLDEN
from helpers.small import small_trainer

from dssm_lightning import TwoTower, load_data, load_model, load_retriever
from dssm_lightning.api import load_datamodule
from dssm_lightning.cli.main import main

RELEASES = sorted(path.name for path in GOLDEN.iterdir() if (path / "checkpoints").is_dir())


@pytest.fixture(params=RELEASES)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder of the release, without its metrics."""
    place = tmp_path / "runs" / "golden" / "version_0"
    shutil.copytree(GOLDEN / request.param, place)
    (place / "metrics.json").unlink()
    monkeypatch.chdir(tmp_path)
    return place


def expected(run: Path) -> dict[str, float]:
    [release] = [
        name for name in RELEASES if (GOLDEN / name / "config.yaml").read_bytes() == (run / "config.yaml").read_bytes()
    ]
    found: dict[str, float] = json.loads((GOLDEN / release / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_there_are_releases() -> None:
    assert "0.1.0" in RELEASES


def test_a_test_finds_the_same_metrics(run: Path) -> None:
    main(["test", "--ckpt_path", str(run / "checkpoints" / "last.ckpt")])
    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    wanted = expected(run)
    assert {name: found[name] for name in wanted} == wanted
    assert len(wanted) > 50
    since = {name.partition("@")[0] for name in found.keys() - wanted.keys()}  # what later releases also measure
    assert since <= {"test/novelty", "test/serendipity", "test/diversity"}


def test_a_config_trains_again(run: Path, tmp_path: Path) -> None:
    """The config as a user wrote it, with the options and short names of its release."""
    config = tmp_path / "again.yaml"
    shutil.copy(run / "written_from.yaml", config)
    cli = main(["fit", "--config", str(config), "--trainer.max_epochs=1"])
    assert cli.datamodule.slice_by == ["group"]
    assert cli.model.query_tower.bypass == ["seen"]
    saved = yaml.safe_load((cli.run / "config.yaml").read_text(encoding="utf-8"))
    assert saved["data"]["slice_by"] == ["group"]
    assert saved["model"]["query_tower"]["class_path"] == "dssm_lightning.Tower"


def test_a_run_resumes(run: Path) -> None:
    cli = main(
        [
            "fit",
            "--ckpt_path",
            str(run / "checkpoints" / "last.ckpt"),
            "--config",
            str(run / "config.yaml"),
            "--trainer.max_epochs=3",
        ]
    )
    assert cli.trainer.current_epoch == 3
    assert cli.run.resolve() == run.resolve()


def test_a_checkpoint_answers_queries(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    queries = load_data([run / "config.yaml"]).data.queries
    retriever = load_retriever(path)
    read = [name for name in queries.columns if name in {f.source_column for f in retriever.schemas.query}]
    hits = retriever.search(queries.select(read).row(0, named=True), k=3)
    assert len(hits) == 3
    weights = load_model(path).state_dict()
    trained = TwoTower.load_from_checkpoint(path, weights_only=True).state_dict()
    assert weights.keys() <= trained.keys()


def test_in_python_the_checkpoint_has_the_same_metrics(run: Path, tmp_path: Path) -> None:
    model = TwoTower.load_from_checkpoint(run / "checkpoints" / "last.ckpt", weights_only=True)
    [found] = small_trainer(tmp_path).test(model, datamodule=load_datamodule([run / "config.yaml"]), verbose=False)
    wanted = expected(run)
    assert {name: found[name] for name in wanted} == wanted
