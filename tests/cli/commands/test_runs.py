"""The command `runs`: a row for each run folder, from small files alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dssm_lightning.cli.main import main
from dssm_lightning.training import run_folders
from dssm_lightning.training.run_status import RunStatus, write_status


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def make(number: int, status: RunStatus | None, name: str = "shop", monitor: str = "val/ndcg@10", **split: Any) -> Path:
    run = Path("runs") / name / f"version_{number}"
    run.mkdir(parents=True)
    config = {
        "checkpoint": {"monitor": monitor, "mode": "max"},
        "trainer": {"max_epochs": 20},
        "data": {"split": {"class_path": "ByTime", "init_args": split}},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    values = [f"{epoch},{9 * epoch},,{value}" for epoch, value in enumerate((0.1, 0.25 + number / 100, 0.2))]
    (run / "metrics.csv").write_text("\n".join([f"epoch,step,train/loss,{monitor}", *values, "2,27,0.5,"]), "utf-8")
    if status is not None:
        write_status(run, status)
    return run


def finished(written: float, seconds: float = 62.0) -> RunStatus:
    return RunStatus("finished", 3, 20, None, seconds, written)


def listed(*words: str) -> list[dict[str, Any]]:
    return [vars(run) for run in main(["runs", *words])]


def test_what_is_known_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    run, now = make(0, finished(time.time())), time.time()
    (run / "metrics.json").write_text('{"test/ndcg@10": 0.2125, "test/mrr": 0.5}', encoding="utf-8")
    assert main(["runs", "--json"])
    [found] = json.loads(capsys.readouterr().out)
    assert found.pop("written") == pytest.approx(now, abs=5)
    assert found == {
        "folder": "runs/shop/version_0",
        "config": "shop",
        "state": "finished",
        "epoch": 3,
        "max_epochs": 20,
        "reason": None,
        "monitor": "val/ndcg@10",
        "best": 0.25,
        "test": 0.2125,
        "window": None,
        "seconds": 62.0,
    }


def test_the_states() -> None:
    make(0, None)  # an earlier release
    make(1, finished(2e9))
    make(2, RunStatus("interrupted", 1, 20, None, 5.0, 2e9 + 1))
    make(3, RunStatus("running", 1, 20, None, 5.0, 2e9 + 2))  # its process was killed
    make(4, RunStatus("failed", 1, 20, "RuntimeError: out of memory", 5.0, 2e9 + 3))
    training = make(5, None)
    with run_folders.lock_run(training):
        write_status(training, RunStatus("running", 2, 20, None, 5.0, 2e9 + 4))
        states = [(run["folder"][-1], run["state"], run["epoch"]) for run in listed()]
    assert states == [
        ("0", "unknown", 3),
        ("1", "finished", 3),
        ("2", "interrupted", 1),
        ("3", "interrupted", 1),
        ("4", "failed", 1),
        ("5", "training", 2),
    ]


def test_the_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-long-name-of-a-config-with-many-words"
    make(0, RunStatus("failed", 113, 1000, f"RuntimeError: {'no ' * 60}", 360_000.0, time.time()), name, folds=3)
    make(1, finished(2e9), name, monitor="val/seen_kept/ndcg@100")
    listed()
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("113/1000", "failed", "100:00:00", "1:02", "0.2500", "0.2600"):
        assert text in shown
    assert f"runs/{name}/version_0 failed: RuntimeError" in shown.replace("\n", " ")


def test_config_and_all_choose_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        make(number, finished(1e9 + number))
    make(0, finished(1e9 + 99), name="other")
    assert len(listed("--all")) == 26
    newest = [run["folder"] for run in listed()]
    assert (newest[0], newest[-1], len(newest)) == ("runs/shop/version_6", "runs/other/version_0", 20)
    assert "6 older runs" in capsys.readouterr().out
    assert [run["folder"] for run in listed("--config", "x/other.yaml")] == ["runs/other/version_0"]
    assert listed("--config=none.yaml") == []
    assert "no run of none.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["config.yaml", "metrics.csv", "metrics.json", "status.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{", b"[1]", b"a: [", b"epoch\nx\n"])
def test_a_damaged_file_hides_no_run(file: str, content: bytes) -> None:
    (make(0, finished(1e9)) / file).write_bytes(content)
    [run] = listed()
    assert run["folder"] == "runs/shop/version_0"


def test_a_loss_is_best_where_it_is_least() -> None:
    run = make(0, finished(1e9), monitor="train/loss")
    text = (run / "config.yaml").read_text("utf-8").replace("mode: max", "mode: min")
    (run / "config.yaml").write_text(text, encoding="utf-8")
    (run / "metrics.csv").write_text("epoch,step,train/loss\n0,1,nan\n1,2,0.5\n2,3,0.75\n", encoding="utf-8")
    assert [(each["best"], each["test"]) for each in listed()] == [(0.5, None)]


def test_the_windows_of_a_rolling_evaluation_are_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    for number, (fold, value) in enumerate([(0, 0.9), (0, 0.1), (1, 0.2), (None, 0.6)]):  # the first is measured again
        run = make(number, finished(1e9 + number), folds=3, fold=fold)
        (run / "metrics.json").write_text(json.dumps({"test/ndcg@10": value}), encoding="utf-8")
    assert [run["window"] for run in listed()] == [(0, 3), (0, 3), (1, 3), (2, 3)]
    shown = " ".join(capsys.readouterr().out.split())
    assert "shop, 3 of 3 windows: test/ndcg@10 0.3000 on average, 0.1000 to 0.6000" in shown
    assert "shop, 3 of 3 windows: val/ndcg@10 0.2700 on average, 0.2600 to 0.2800" in shown
