"""Which run is meant if none is named: the newest finished one, and the newer ones are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dssm_lightning.training import run_folders
from dssm_lightning.training.run_choice import choose_checkpoint
from dssm_lightning.training.run_status import RunStatus, write_status


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(name: str, version: int, state: str | None, kinds: str = "best last", age: int = 0) -> Path:
    run = Path("runs") / name / f"version_{version}"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    for kind in kinds.split():
        path = run_folders.checkpoint_path(run, kind)
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    if state is not None:
        write_status(run, RunStatus(state, 2, 9, "ValueError: no" if state == "failed" else None))
    return run


def chosen(name: str | None = "a", which: str = "best") -> tuple[Path | None, list[str]]:
    choice = choose_checkpoint(name, which)
    return (None, []) if choice is None else (choice.run, choice.passed_over)


def test_without_runs_there_is_no_choice() -> None:
    assert chosen() == (None, [])
    make("a", 0, "finished", kinds="")
    assert chosen() == (None, [])


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("interrupted", "it was interrupted (epoch 2 of 9)"),
        ("running", "it was interrupted (epoch 2 of 9)"),  # its process was killed
        ("failed", "it failed (epoch 2 of 9): ValueError: no"),
    ],
)
def test_a_newer_run_that_is_not_finished_is_passed_over_and_named(state: str, reason: str) -> None:
    done = make("a", 0, "finished")
    newer = make("a", 1, state)
    way = f"to take it: --ckpt_path {newer}/checkpoints/best.ckpt"
    for name in ("a", None):
        assert chosen(name) == (done, [f"{newer} is newer, but {reason}; {way}"])


def test_a_run_that_is_being_trained_is_passed_over() -> None:
    done = make("a", 0, "finished")
    newer = make("a", 1, "running")
    with run_folders.lock_run(newer):
        write_status(newer, RunStatus("running", 3, 10))
        run, [line] = chosen()
    assert run == done
    assert "it is still training (epoch 3 of 10)" in line


def test_a_newer_finished_run_is_taken() -> None:
    make("a", 0, "finished")
    make("a", 1, "failed")
    newest = make("a", 10, "finished")
    make("b", 4, "finished", age=50)
    assert chosen() == (newest, [])
    assert chosen(None) == (newest, [])


def test_a_run_of_an_earlier_release_counts_as_finished() -> None:
    old = make("a", 3, None)
    assert chosen() == (old, [])


def test_where_no_run_is_finished_the_newest_with_the_checkpoint_is_taken() -> None:
    make("a", 0, "failed")
    newer = make("a", 1, "interrupted", kinds="last")
    newest = make("a", 2, "interrupted", kinds="")
    reason = f"{newest} is newer, but has no last.ckpt: it was interrupted (epoch 2 of 9)"
    assert chosen(which="last") == (newer, [reason])


def test_runs_of_other_names_are_passed_over_by_their_time() -> None:
    done = make("a", 0, "finished", age=5)
    make("c", 7, "interrupted", age=90)  # older
    newer = make("b", 7, "interrupted")
    run, lines = chosen(None)
    assert run == done
    assert [line.split(" ")[0] for line in lines] == [str(newer)]
    assert chosen("a") == (done, [])


def test_folders_of_other_names_are_no_runs() -> None:
    done = make("a", 0, "finished")
    for odd in ("version_x", "version_", "version_²"):
        (Path("runs/a") / odd).mkdir()
    assert chosen() == (done, [])
