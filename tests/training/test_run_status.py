"""The status of a run: running, finished, interrupted, failed, or unknown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.paths import ROOT

from dssm_lightning.training import run_folders
from dssm_lightning.training.run_status import RunStatus, is_locked, not_finished, read_status, write_status


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return run_folders.begin("a")


RUNNING = RunStatus("running", 3, 10)


def test_while_a_fit_holds_the_lock_its_run_is_running(run: Path) -> None:
    with run_folders.lock_run(run):
        write_status(run, RUNNING)
        assert is_locked(run)
        assert read_status(run) == RUNNING
        assert not_finished(run) == f"{run} is not finished: it is still training (epoch 3 of 10)"
    assert not is_locked(run)


def test_without_the_lock_a_running_run_was_killed(run: Path) -> None:
    write_status(run, RUNNING)
    assert read_status(run) == RunStatus("interrupted", 3, 10)


def test_a_killed_process_leaves_an_interrupted_run(run: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\n"
        "from dssm_lightning.training import run_folders\n"
        "from dssm_lightning.training.run_status import RunStatus, write_status\n"
        f"run = Path({str(run)!r})\n"
        "with run_folders.lock_run(run):\n"
        "    write_status(run, RunStatus('running', 1, 5))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=100, env=environment)
    assert done.returncode == -9
    assert not_finished(run) == f"{run} is not finished: it was interrupted (epoch 1 of 5)"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), r"it was interrupted \(epoch 3 of 10\)$"),
        (SystemExit(143), r"it was interrupted \(epoch 3 of 10\)$"),
        (ValueError("a\nb"), r"it failed \(epoch 3 of 10\): ValueError: a b$"),
        (RuntimeError("x" * 10_000), "it failed.*RuntimeError: x{100,300}$"),
    ],
)
def test_how_it_ended(run: Path, error: BaseException, line: str) -> None:
    def fit() -> None:
        with run_folders.lock_run(run):
            write_status(run, RUNNING)
            (run / "metrics.csv").touch()
            raise error

    with pytest.raises(type(error)):
        fit()
    assert re.search(line, not_finished(run) or "")


def test_a_finished_run_is_finished(run: Path) -> None:
    with run_folders.lock_run(run):
        write_status(run, RUNNING)
        (run / "metrics.csv").touch()
    finished = read_status(run)
    assert finished is not None
    assert finished[:4] == ("finished", 3, 10, None)
    assert not_finished(run) is None
    with pytest.raises(KeyError), run_folders.lock_run(run):
        raise KeyError  # before any training: the run stays as it was
    assert read_status(run) == finished


def test_a_killed_run_that_cannot_be_resumed_stays_interrupted(run: Path) -> None:
    write_status(run, RUNNING)
    (run / "metrics.csv").touch()
    with pytest.raises(KeyError), run_folders.lock_run(run):
        raise KeyError
    assert read_status(run) == RunStatus("interrupted", 3, 10)


@pytest.mark.parametrize(
    "content", [None, "{", "[]", "{}", '{"state": "odd"}', '{"state": "running", "epoch": "x"}', "[" * 9999]
)
def test_the_status_of_earlier_releases_and_of_damaged_files_is_unknown(run: Path, content: str | None) -> None:
    if content is not None:
        (run / "status.json").write_text(content, encoding="utf-8")
    assert read_status(run) is None
    assert not_finished(run) is None


def test_the_time_of_a_fit_ends_with_it(run: Path) -> None:
    with run_folders.lock_run(run):
        write_status(run, RUNNING._replace(seconds=5.0, written=time.time() - 60))  # as the last epoch left it
        (run / "metrics.csv").touch()
    status = read_status(run)
    assert status is not None
    assert 65 <= status.seconds < 75
    write_status(run, RUNNING._replace(seconds=5.0, written=100.0))  # killed: nobody knows when
    with pytest.raises(KeyError), run_folders.lock_run(run):
        raise KeyError
    assert read_status(run) == RUNNING._replace(state="interrupted", seconds=5.0, written=100.0)


def test_a_later_release_may_record_more(run: Path) -> None:
    (run / "status.json").write_text('{"state": "finished", "epoch": 1, "max_epochs": 2, "mood": "good"}', "utf-8")
    assert read_status(run) == RunStatus("finished", 1, 2)


def test_the_file_is_plain_json(run: Path) -> None:
    write_status(run, RUNNING)
    assert json.loads((run / "status.json").read_text("utf-8"))["state"] == "running"
    assert RunStatus("running", 2, -1).not_finished == "it is still training (epoch 2)"


def test_a_reader_of_the_status_does_not_stop_a_fit(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "run.lock").touch()
    lock = FileLock(run / "run.lock")
    lock.acquire()
    monkeypatch.setattr("time.sleep", lambda seconds: lock.release())  # the reader is done while the fit waits
    with run_folders.lock_run(run):
        assert is_locked(run)
