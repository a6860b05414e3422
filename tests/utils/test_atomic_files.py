"""A file or a folder has its old content or its new content, never a part."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dssm_lightning.utils.atomic_files import atomic_folder, atomic_write

Writer = Callable[[Path], AbstractContextManager[Path]]
BOTH = pytest.mark.parametrize("writer", [atomic_write, atomic_folder])


def fill(writer: Writer, place: Path, text: str) -> None:
    """Write a text to a file, or to a file in a folder that also has a nested folder."""
    if writer is atomic_write:
        place.write_text(text)
    else:
        (place / "nested").mkdir()
        (place / "nested" / text).write_text(text)


def content(writer: Writer, path: Path) -> list[str]:
    if writer is atomic_write:
        return [path.read_text()]
    return [file.read_text() for file in path.rglob("*") if file.is_file()]


@BOTH
def test_new_content_replaces_the_old_one(tmp_path: Path, writer: Writer) -> None:
    path = tmp_path / "new" / "result"
    for text in ("first", "second"):
        with writer(path) as temporary:
            fill(writer, temporary, text)
            assert temporary.parent == path.parent
        assert content(writer, path) == [text]
    assert list(path.parent.iterdir()) == [path]


@BOTH
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_everything_as_it_was(tmp_path: Path, writer: Writer, error: type[BaseException]) -> None:
    path = tmp_path / "result"
    with writer(path) as temporary:
        fill(writer, temporary, "old")
    with pytest.raises(error, match="in the middle"), writer(path) as temporary:  # noqa: PT012  # both are needed
        fill(writer, temporary, "half")
        raise error("in the middle")
    assert content(writer, path) == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_an_exception_before_anything_was_there_leaves_nothing(tmp_path: Path, writer: Writer) -> None:
    with pytest.raises(RuntimeError, match="at once"), writer(tmp_path / "result"):
        raise RuntimeError("at once")
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_only_what_killed_processes_left_is_removed(tmp_path: Path, writer: Writer) -> None:
    killed = subprocess.Popen(["timeout", "-k", "5", "60", sys.executable, "-c", ""])
    killed.wait()
    path = tmp_path / "result"
    stale = [tmp_path / f"result.tmp{number}" for number in (killed.pid, os.getpid(), 10**30)]
    for each in stale[:2]:
        each.write_text("half")
    (tmp_path / f"{stale[2].name}-old" / "nested").mkdir(parents=True)
    kept = [tmp_path / name for name in (f"result.tmp{os.getppid()}", "result.tmpl", f"other.tmp{killed.pid}")]
    for each in kept:
        each.write_text("of others")
    with writer(path) as temporary:
        fill(writer, temporary, "new")
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])


@BOTH
def test_a_killed_process_leaves_the_old_content(tmp_path: Path, writer: Writer) -> None:
    path = tmp_path / "result"
    with writer(path) as temporary:
        fill(writer, temporary, "old")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from dssm_lightning.utils import atomic_files\n"
        "with getattr(atomic_files, sys.argv[1])(Path(sys.argv[2])) as temporary:\n"
        "    (temporary / 'half' if temporary.is_dir() else temporary).write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    name = "atomic_write" if writer is atomic_write else "atomic_folder"
    assert subprocess.run([sys.executable, "-c", code, name, str(path)]).returncode == -9
    assert content(writer, path) == ["old"]
    assert len(list(tmp_path.iterdir())) == 2
    with writer(path) as temporary:
        fill(writer, temporary, "new")
    assert content(writer, path) == ["new"]
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result"
    flush, before, after = os.fsync, set[int](), set[int]()

    def recorded(descriptor: int) -> None:
        (after if path.exists() else before).add(os.fstat(descriptor).st_ino)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with writer(path) as temporary:
        fill(writer, temporary, "new")
    assert before == {each.stat().st_ino for each in (path, *path.rglob("*"))}
    assert after == {tmp_path.stat().st_ino}


@BOTH
def test_a_full_disk_leaves_the_old_content(tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    with writer(path) as temporary:
        fill(writer, temporary, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), writer(path) as temporary:
        fill(writer, temporary, "new")
    assert content(writer, path) == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_renamed_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    with atomic_folder(path) as temporary:
        fill(atomic_folder, temporary, "old")
    rename = Path.rename

    def refused(source: Path, target: Path) -> Path:
        if source.name.endswith(f"tmp{os.getpid()}"):
            raise PermissionError("not this one")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError, match="not this one"), atomic_folder(path) as temporary:
        fill(atomic_folder, temporary, "new")
    assert content(atomic_folder, path) == ["old"]
    assert list(tmp_path.iterdir()) == [path]
