"""A fit and a test end with the model beside baselines on the same rows, and say where it is not ahead."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small import TEXT_CONFIG

from dssm_lightning import api
from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.main import main
from dssm_lightning.evaluation import measure_baselines as measuring
from dssm_lightning.evaluation.baselines import EASE, PopularityBaseline, cost
from dssm_lightning.utils.errors import UserError

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write()


def write(**changes: Any) -> str:
    settings = {**TEXT_CONFIG, "trainer": {"max_epochs": 1}, "checkpoint": {"monitor": "val/mrr"}, **changes}
    Path("shop.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return "--config=shop.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fit that measured baselines; do not change its run."""
    found = tmp_path_factory.mktemp("baselines")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", write(), "--baselines=true", *QUIET])
    return found


def test_a_fit_compares_the_best_model_with_baselines_on_the_validation_rows(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    cli = main(["fit", write(), "--baselines=true", *QUIET])
    shown = capsys.readouterr().out
    table = shown[shown.index("validation rows") :]
    assert max(map(len, shown.splitlines())) <= 80
    for name in ("the model", "Popularity", "EASE (l2=300.0)", "BM25", "TfIdf"):
        assert name in table
    best = float(cli.trainer.checkpoint_callbacks[0].best_model_score)
    assert f"{best:.4f}" in table[table.index("the model  ") :].splitlines()[0]
    expected = {
        name: metrics["mrr"]
        for name, metrics, _ in measuring.measure_baselines(api.load_data(["shop.yaml"]), fold="validation")
    }
    for name in ("BM25(k1=1.2, b=0.75)", "EASE(l2=100.0)"):
        assert f"{expected[name]:.4f}" in table
    assert "to try" in table  # after one epoch it is behind them


def test_nothing_is_measured_twice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(EASE, "fit", lambda *_: pytest.fail("it was measured before"))
    main(["fit", write(), "--baselines=true", *QUIET])


def test_a_test_compares_on_the_test_rows_with_the_blend(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    main(["test", "--ckpt_path=runs/shop/version_0/checkpoints/best.ckpt", "--baselines=true", *QUIET])
    shown = capsys.readouterr().out
    table = shown[shown.index("test rows") :]
    for name in ("the model", "hybrid with BM25", "Popularity", "EASE (l2=300.0)", "95 %"):
        assert name in table
    metrics = json.loads(Path("runs/shop/version_0/metrics.json").read_text(encoding="utf-8"))
    assert f"{metrics['test/ndcg@10']:.4f}" in table[table.index("the model  ") :].splitlines()[0]
    assert not any("hybrid" in name for name in metrics)  # nobody asked for it


@pytest.mark.parametrize(
    "options",
    [["--baselines=false"], ["--trainer.fast_dev_run=true"], ["--data.split.init_args.validation=0"]],
)
@pytest.mark.usefixtures("_here")
def test_fits_without_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(trainer_verbs, "ENDS_WITH_BASELINES", True)
    main(["fit", "--config=shop.yaml", *options, *QUIET])
    assert "the model" not in capsys.readouterr().out


@pytest.mark.usefixtures("_here")
def test_what_costs_too_much_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cost, "seconds_of", lambda each, *_: 1.0 if isinstance(each, PopularityBaseline) else 1e9)
    main(["fit", "--config=shop.yaml", "--baselines=true", *QUIET])
    shown = capsys.readouterr().out
    assert "Popularity" in shown
    assert "EASE (" not in shown
    assert "EASE" in caplog.text
    assert "60 s" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
def test_of_several_processes_the_first_one_measures() -> None:
    words = ["fit", "--config=shop.yaml", "--baselines=true", *QUIET]
    words += ["--trainer.devices=2", "--trainer.strategy=ddp"]
    ended = subprocess.run(
        [sys.executable, "-m", "dssm_lightning", *words], capture_output=True, text=True, timeout=240, check=True
    )
    assert ended.stdout.count("validation rows") == 1
    assert "EASE (l2=300.0)" in ended.stdout


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_here")
def test_before_any_run_the_command_writes_nothing_into_the_working_folder() -> None:
    results = main(["baseline", "--config", "shop.yaml", "--only", "EASE", "--l2", "500", "--only", "BM25"])
    assert list(results) == ["EASE(l2=500.0)", "BM25(k1=1.2, b=0.75)"]
    assert {path.name for path in Path().iterdir()} == {"shop.yaml", "cache"}


@pytest.mark.usefixtures("_here")
def test_the_command_writes_the_file_that_it_is_given() -> None:
    results = main(["baseline", "--config=shop.yaml", "--only=Popularity", "--output=found.json"])
    assert json.loads(Path("found.json").read_text(encoding="utf-8")) == results


def test_chosen_baselines_join_those_of_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    write()
    for name in ("Popularity", "BM25"):
        main(["baseline", "--config=shop.yaml", f"--only={name}"])
    [path] = Path("runs").rglob("baselines.json")
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"Popularity()", "BM25(k1=1.2, b=0.75)"}


@pytest.mark.usefixtures("_here")
def test_an_unknown_baseline_is_refused_with_the_list() -> None:
    with pytest.raises(UserError, match=r"EASY.*Popularity, RecentPopularity.*EASE.*BM25"):
        main(["baseline", "--config=shop.yaml", "--only=EASY"])
