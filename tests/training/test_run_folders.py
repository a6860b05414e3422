"""Run folders: numbers, locks, and the newest checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dssm_lightning.training import run_folders
from dssm_lightning.utils.errors import UserError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(name: str, version: int, *kinds: str, age: int = 0, config: bool = True) -> Path:
    run = Path("runs") / name / f"version_{version}"
    (run / "checkpoints").mkdir(parents=True)
    if config:
        (run / "config.yaml").touch()
    for kind in kinds:
        path = run_folders.checkpoint_path(run, kind)
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return run


def test_a_new_run_has_the_next_number() -> None:
    assert run_folders.new_run("a") == Path("runs/a/version_0")
    make("a", 0)
    make("a", 9)
    (Path("runs/a") / "version_x").mkdir()
    assert run_folders.new_run("a") == Path("runs/a/version_10")
    assert run_folders.new_run("b") == Path("runs/b/version_0")


def test_the_newest_run_with_a_checkpoint_is_found() -> None:
    assert run_folders.newest_checkpoint(None, "best") is None
    old = make("a", 0, "best", "last", age=9)
    new = make("a", 1, "last", age=5)
    other = make("b", 0, "best", age=1)
    make("a", 2)
    assert run_folders.newest_checkpoint("a", "best") == old / "checkpoints" / "best.ckpt"
    assert run_folders.newest_checkpoint("a", "last") == new / "checkpoints" / "last.ckpt"
    assert run_folders.newest_checkpoint(None, "best") == other / "checkpoints" / "best.ckpt"
    assert run_folders.newest_checkpoint("c", "best") is None


def test_at_equal_age_the_higher_version_is_newer() -> None:
    make("a", 9, "best")
    ten = make("a", 10, "best")
    assert run_folders.newest_checkpoint("a", "best") == ten / "checkpoints" / "best.ckpt"


def test_the_run_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make("a", 0, "best")
    assert run_folders.run_of(run / "checkpoints" / "best.ckpt") == run
    assert run_folders.run_of(tmp_path / run / "checkpoints" / "best.ckpt") == run
    assert run_folders.run_of(make("b", 0, "best", config=False) / "checkpoints" / "best.ckpt") is None
    assert run_folders.run_of(tmp_path / "best.ckpt") is None
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_folders.run_of(tmp_path / run / "checkpoints" / "best.ckpt") == tmp_path / run


def test_within_one_name_the_number_decides_and_not_the_clock() -> None:
    make("a", 1, "last", age=-9)  # the clock was ahead
    two = make("a", 2, "last", age=9)
    assert run_folders.newest_checkpoint("a", "last") == two / "checkpoints" / "last.ckpt"
    assert run_folders.newest_checkpoint(None, "last") == two / "checkpoints" / "last.ckpt"


def test_loggers_know_a_run_by_its_number() -> None:
    """The progress bar shows the last four letters of a text: ``v_num: on_0``."""
    assert run_folders.version(Path("runs/a/version_12")) == 12
    assert [run_folders.version(Path(name)) for name in ("runs/a/mine", "runs/a/version_x")] == ["mine", "version_x"]


def test_two_runs_that_start_together_get_different_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_folders.begin("a")
    found = iter([first, Path("runs/a/version_1")])  # the second run looked before the first was made
    monkeypatch.setattr(run_folders, "new_run", lambda name: next(found))
    assert run_folders.begin("a") == Path("runs/a/version_1")


def test_one_process_trains_in_a_folder_at_a_time() -> None:
    run = make("a", 0, "last")
    with (
        run_folders.lock_run(run),
        pytest.raises(ValueError, match=r"another process is training in runs/a/version_0"),
        run_folders.lock_run(run),
    ):
        pass
    with run_folders.lock_run(run):  # the first has ended
        pass
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_an_empty_run_folder_is_deleted() -> None:
    run = run_folders.begin("a")
    with pytest.raises(KeyError), run_folders.lock_run(run):
        raise KeyError
    assert not run.exists()


def test_a_run_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    run = make("a", 0)
    (run / "checkpoints").rmdir()
    (run / "checkpoints").write_text("a file")
    with (
        pytest.raises(OSError, match=r"runs/a/version_0/checkpoints, cannot be written: File exists"),
        run_folders.lock_run(run),
    ):
        pass


@pytest.mark.parametrize("name", ["a[b]", "a*", "?", "[!x]", "two words", ".hidden", "💥", "a\nb", "**"])
def test_a_name_is_no_pattern(name: str) -> None:
    make("ab", 5, "last")
    run = make(name, 2, "last")
    assert run_folders.newest_checkpoint(name, "last") == run_folders.checkpoint_path(run, "last")
    assert run_folders.new_run(name) == Path("runs") / name / "version_3"
    assert run_folders.newest_checkpoint(None, "last") is not None


@pytest.mark.parametrize("folder", ["version_²", "version_٣", "version_", "version_-1", "version_1.5", "version_x"])
def test_a_folder_with_an_odd_number(folder: str) -> None:
    (Path("runs") / "a" / folder).mkdir(parents=True)
    assert run_folders.new_run("a") == Path("runs/a/version_0")
    run = make("a", 0, "best")
    assert run_folders.newest_checkpoint("a", "best") == run_folders.checkpoint_path(run, "best")


@pytest.mark.parametrize(
    ("config", "name"),
    [("x/shop.yaml", "shop"), (None, "default"), ("..yaml", "default"), ("..", "default"), (".a.yaml", ".a")],
)
def test_the_name_of_a_run(config: str | None, name: str) -> None:
    assert run_folders.run_name(config) == name


@pytest.mark.parametrize("place", ["runs", "runs/a"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_folder(place: str, kind: str) -> None:
    Path(place).parent.mkdir(exist_ok=True)
    if kind == "file":
        Path(place).touch()
    else:
        Path(place).symlink_to("nowhere")
    with pytest.raises(UserError, match=rf"{place} is (no folder|a link to a place that does not exist)"):
        run_folders.begin("a")
    assert run_folders.newest_checkpoint("a", "best") is None
    assert run_folders.newest_checkpoint(None, "best") is None


def test_a_dangling_link_takes_its_number() -> None:
    make("a", 0)
    Path("runs/a/version_1").symlink_to("nowhere")
    assert run_folders.begin("a") == Path("runs/a/version_2")
