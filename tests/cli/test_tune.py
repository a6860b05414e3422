"""`tune` from end to end: on the command line, beside another process, interrupted, and with trials that die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from helpers.paths import ROOT
from helpers.small import TEXT_CONFIG, write_config
from helpers.tuning import GOAL, SPACE, fake_fit, open_study

from dssm_lightning.cli.main import main
from dssm_lightning.cli.tuning import run_trials
from dssm_lightning.cli.tuning.job import Job
from dssm_lightning.cli.tuning.trial_fit import read_settings, require_one_process
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.training import run_folders
from dssm_lightning.training.callbacks.stop_at_non_finite import NotFiniteError
from dssm_lightning.training.tuning.dimension import changes_of
from dssm_lightning.training.tuning.settings_tree import at, leaves
from dssm_lightning.training.tuning.space import Corpus, search_space
from dssm_lightning.training.tuning.study import INTERRUPTED
from dssm_lightning.utils.errors import UserError

SHORT = {"max_epochs": 1, **{name: value for name, value in TEXT_CONFIG["trainer"].items() if name != "max_epochs"}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a small config."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path / "shop.yaml", trainer=SHORT)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# -- on the command line -----------------------------------------------------------------------------------------------


def test_tune_shows_its_space_and_what_it_found_and_writes_the_best(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = main(["tune", "--config", str(place), "--trials", "3", "--keep", "sampler", "repeats"])
    shown = capsys.readouterr().out
    for text in (
        "optimizer.lr",
        "0.001 to 0.1",
        "rank",
        "0 (own)",
        "settings that differ",
        "gain over the config|no trial",
    ):
        assert any(each in shown for each in text.split("|")), text
    assert "sampler" not in shown
    assert found["trials"] == 3
    assert run_folders.folders_of(None) == [], "no run that another command would take for the newest"
    left = {name for name in files_below(place.parent / "runs") if "rows" not in name}
    assert left == {"shop/tune.db", "shop/tune.db.lock", "shop/tune.best.yaml"}
    cli = main(["fit", "--config", str(place), "--config", found["output"]])
    assert float(cli.trainer.callback_metrics["val/mrr"]) == found["value"], "a fit reaches what its trial has reached"


def test_trial_0_is_the_fit_of_the_config_and_the_study_goes_on(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = main(["tune", "--config", str(place), "--trials", "1"])
    cli = main(["fit", "--config", str(place)])
    assert own["value"] == float(cli.trainer.callback_metrics["val/mrr"])
    assert own["settings"]["lr"] == 0.01
    caplog.clear()
    again = main(["tune", "--config", str(place), "--trials", "2"])
    assert again["trials"] == 2
    assert "trial 1 " in caplog.text
    assert "trial 0 " not in caplog.text
    assert main(["tune", "--config", str(place), "--trials", "2"])["value"] == again["value"], "nothing is left to do"


def test_the_test_part_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other test rows change nothing of what a search finds, and no loader of them is asked for."""

    def refuse(self: object) -> None:
        raise AssertionError("the test rows are asked for")

    monkeypatch.setattr(RetrievalDataModule, "test_dataloader", refuse)
    values = []
    for name, shift in (("as they are", 0), ("poisoned", 7)):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        found = main(["tune", "--config", str(_shop(folder, shift)), "--trials", "2"])
        values.append((found["value"], found["settings"]))
    assert values[0] == values[1]


def _shop(folder: Path, shift: int) -> Path:
    """A config of files with a published fold; the candidates of the test rows are moved by so much."""
    colours = ["red", "blue", "green", "black", "white"]
    items = pl.DataFrame({"item": range(25), "title": [f"{colours[i % 5]} thing {i // 5}" for i in range(25)]})
    rows = [
        (q, (q * 3 + step) % 25, ("train", "train", "validation", "test")[step]) for q in range(40) for step in range(4)
    ]
    events = pl.DataFrame(rows, schema=["person", "item", "part"], orient="row")
    test = pl.col("part") == "test"
    events = events.with_columns(item=pl.when(test).then((pl.col("item") + shift) % 25).otherwise(pl.col("item")))
    people = pl.DataFrame({"person": range(40), "text": [f"{colours[q % 5]} {q}" for q in range(40)]})
    for name, table in (("events", events), ("people", people), ("items", items)):
        table.write_csv(folder / f"{name}.csv")
    roles = {"query_id": "person", "candidate_id": "item"}
    files = {"interactions": "events.csv", "queries": "people.csv", "candidates": "items.csv"}
    source = {"class_path": "Files", "init_args": {**files, **roles}}
    split = {"class_path": "PublishedFold", "init_args": {"column": "part"}}
    words = [
        {"class_path": "HashedWords", "init_args": {"name": column, "num_buckets": 200}} for column in ("text", "title")
    ]
    data = {"source": source, "split": split, "query": words[:1], "candidate": words[1:]}
    return write_config(folder / "shop.yaml", data=data, trainer=SHORT)


@pytest.mark.parametrize("name", ["emoji", "tldr-best", "movielens-100k", "files"])
def test_an_overlay_changes_what_was_searched_and_nothing_else(name: str, tmp_path: Path) -> None:
    config = ROOT / "configs" / f"{name}.yaml"
    settings = read_settings([str(config)])
    space = search_space(settings, Corpus("movie_id", 2000))
    moved = {
        each.name: each.choices[-1] if each.kind == "choice" else each.value_of(int(each.high) or 0.5) for each in space
    }
    job = Job((str(config),), tmp_path / "tune.db", 2, 1, "val/mrr", "max", (), None)
    overlay = tmp_path / "best.yaml"
    overlay.write_text(yaml.safe_dump(job.overlay(changes_of(space, moved))))
    found = read_settings([str(config), str(overlay)])
    several = Job((str(config), str(overlay)), *list(vars(job).values())[1:])
    assert several.overlay({}) == {}
    for each in space:
        for each_place in each.places:
            value, wanted = at(found, each_place), moved[each.name]
            assert at(value, ("class_path",), value) == at(wanted, ("class_path",), wanted), each_place
    changed = {place for place, value in _flat(settings).items() if _flat(found).get(place) != value}
    searched = {place for each in space for place in each.places}
    assert changed <= {place for place in changed if any(place[: len(known)] == known for known in searched)} | {
        ("config",)
    }


def _flat(settings: dict[str, Any]) -> dict[Any, Any]:
    return dict(leaves(settings))


# -- refused before any trial ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "val/ndgc@10"], r"--metric 'val/ndgc@10' is never logged; .*did you mean 'val/ndcg@10'"),
        (["--metric", "val/auroc"], "val/auroc.*no label column"),
        (["--metric", "test/mrr"], "--metric 'test/mrr' is never logged"),
        (["--time", "soon"], "--time is 'soon'.*1h30m"),
        (["--trials", "0"], "--trials is 0"),
        (["--keep", "learning"], "--keep learning: .*lr, logit_scale"),
        (["--study", "."], "--study . is a folder"),
        (["--output", "mine.yaml"], r"--output mine.yaml exists.*--force"),
    ],
)
def test_a_wrong_option_is_refused_before_any_trial(place: Path, words: list[str], message: str) -> None:
    (place.parent / "mine.yaml").write_text("model: {}\n")
    with pytest.raises(UserError, match=message):
        main(["tune", "--config", str(place), *words])
    assert not list(place.parent.rglob("tune.db"))
    assert (place.parent / "mine.yaml").read_text() == "model: {}\n"


def test_a_split_without_validation_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    split = {"class_path": "PerQuery", "init_args": {"test": 0.2, "validation": 0.0}}
    config = write_config(tmp_path / "shop.yaml", data={"split": split})
    with pytest.raises(UserError, match=r"data\.split.*validation"):
        main(["tune", "--config", str(config)])


def test_several_devices_are_refused() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices 2.*--jobs"):
        require_one_process({"trainer": {"devices": 2, "strategy": "auto", "num_nodes": 1}})
    with pytest.raises(UserError, match="strategy ddp"):
        require_one_process({"trainer": {"devices": "auto", "strategy": "ddp", "num_nodes": 1}})
    assert require_one_process({"trainer": {"devices": "auto", "strategy": "auto"}}) == ["--trainer.devices=1"]


def test_without_optuna_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"optuna.*dssm-lightning\[tune\]"):
        main(["tune", "--config", str(place)])


# -- trials that die ---------------------------------------------------------------------------------------------------


def job(folder: Path, trials: int = 5, **changes: Any) -> Job:
    """A search of the formula's space, whose config no parser reads."""
    config = folder / "shop.yaml"
    config.write_text("model: {optimizer: {class_path: Adam, init_args: {lr: 0.01}}}\n")
    files = ((str(config),), folder / "tune.db", trials, 1, "val/mrr", "max", ())
    return Job(*files, **{"deadline": None, "space": tuple(SPACE), "goal": GOAL, "epochs": 3, **changes})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFiniteError("the loss of step 3 is not finite"), "NotFiniteError: the loss of step 3"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (MemoryError(), "MemoryError"),
        (UserError("ks: k = 100 is larger"), "k = 100"),
        (SystemExit(2), "SystemExit: 2"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_trial_that_dies_is_recorded_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str
) -> None:
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: error if lr > 0.02 else 0.3 + lr))
    run_trials.run_trials(job(tmp_path))
    study = open_study(tmp_path / "tune.db")
    states = [each.state.name for each in study.counted()]
    assert len(states) == 5
    assert "FAIL" in states
    assert states.count("COMPLETE") >= 2
    assert reason in str(study.reason(states.index("FAIL")))


def test_a_config_that_is_refused_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: UserError("no such column")))
    with pytest.raises(UserError, match="no such column"):
        run_trials.run_trials(job(tmp_path))
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: RuntimeError("broken")))
    with pytest.raises(UserError, match=r"all 5 trials have failed, the last one: RuntimeError: broken"):
        run_trials.run_trials(job(tmp_path, trials=20))


def test_an_interrupted_trial_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: KeyboardInterrupt() if lr > 0.02 else 0.3 + lr))
    with pytest.raises(KeyboardInterrupt):
        run_trials.run_trials(job(tmp_path))
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: 0.3 + lr))
    run_trials.run_trials(job(tmp_path))
    study = open_study(tmp_path / "tune.db")
    assert [each.state.name for each in study.counted()] == ["COMPLETE"] * 5
    [stopped] = [number for number in range(6) if study.reason(number) == INTERRUPTED]
    again = [each.params for each in study.counted()]
    assert study.study.trials[stopped].params in again


def test_no_trial_begins_when_the_time_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_trials, "fit_trial", fake_fit(lambda lr: 0.3))
    run_trials.run_trials(job(tmp_path, deadline=time.time() - 1))
    assert open_study(tmp_path / "tune.db").counted() == []


# -- several processes -------------------------------------------------------------------------------------------------


def command(place: Path, *words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "dssm_lightning", "tune", "--config", str(place), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(line, cwd=place.parent, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # of the session that the test started


def trials_of(place: Path, count: int) -> list[Any]:
    """The trials of the study that commands have written."""
    import optuna

    storage = f"sqlite:///{place.parent / 'runs' / 'shop' / 'tune.db'}"
    return optuna.load_study(study_name="tune", storage=storage).trials[:count]


@pytest.mark.slow
def test_the_same_command_twice_shares_the_study(place: Path) -> None:
    started = [command(place, "--trials", "6") for _ in range(2)]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            end(process)
    assert [process.returncode for process in started] == [0, 0], outputs
    trials = trials_of(place, 99)
    assert len(trials) == 6
    assert all(each.state.name in ("COMPLETE", "PRUNED") for each in trials)
    assert len({str(each.params) for each in trials}) == 6, "no trial runs twice"
    assert len({each.user_attrs["process"] for each in trials}) == 2


@pytest.mark.slow
def test_jobs_start_further_processes(place: Path) -> None:
    process = command(place, "--trials", "5", "--jobs", "2")
    try:
        output = process.communicate(timeout=240)[0]
    finally:
        end(process)
    assert process.returncode == 0, output
    assert output.count("0 (own)") == 1, "one process shows the tables"
    assert len(trials_of(place, 99)) == 5


@pytest.mark.slow
def test_ctrl_c_keeps_the_study(place: Path) -> None:
    write_config(place, trainer={**SHORT, "max_epochs": 200})
    process = command(place, "--trials", "30")
    try:
        assert process.stdout is not None
        for line in process.stdout:  # until the first trial has begun
            if "30 trials in the end" in line:
                break
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    finally:
        end(process)
    assert process.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    waiting = [each for each in trials_of(place, 99) if each.state.name == "WAITING"]
    assert waiting
    assert not [each for each in trials_of(place, 99) if each.state.name == "RUNNING"]
