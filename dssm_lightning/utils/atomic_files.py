"""Write a file or a folder so that readers see its old content or its new content, never a part of either.

The content goes to a temporary sibling, ``<name>.tmp<process id>``, which is flushed to the disk and then renamed. A
killed process leaves its temporary sibling behind; the next writer of the same name removes it. Only one machine may
write a name at a time.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; at the end, flush the file written there and rename it to ``path``.

    The parent folder is created. Close the file before the end. On an exception, ``path`` keeps its earlier content and
    the temporary file is removed.

    Raises:
        OSError: the file or its folder cannot be written, for example because the disk is full.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "metrics.json")
        ...     with atomic_write(path) as temporary:
        ...         _ = temporary.write_text("{}")
        ...     print(path.read_text())
        {}
    """
    temporary = _temporary_sibling(path)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; at the end, flush everything in it and rename it to ``path``.

    An existing ``path`` is replaced. The parent folder is created. Close every file before the end. On an exception,
    ``path`` keeps its earlier content and the temporary folder is removed.

    Raises:
        OSError: a file or a folder cannot be written, for example because the disk is full.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_folder(Path(folder, "bundle")) as temporary:
        ...         _ = (temporary / "settings.json").write_text("{}")
        ...     print([path.name for path in Path(folder, "bundle").iterdir()])
        ['settings.json']
    """
    temporary = _temporary_sibling(path)
    try:
        temporary.mkdir()
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _flush(written)
        _rename_over(temporary, path)
        _flush(path.parent)
    finally:
        _remove(temporary)


def _rename_over(new: Path, path: Path) -> None:
    """Rename a folder to ``path``; first move an existing ``path``, because a rename cannot replace a full folder."""
    old = new.with_name(f"{new.name}-old")
    try:
        if os.path.lexists(path):
            path.rename(old)
        new.rename(path)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path):
            old.rename(path)
        raise
    _remove(old)


def _temporary_sibling(path: Path) -> Path:
    """Return the temporary path of this process; create its folder, and remove the files of killed processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for sibling in path.parent.glob("*"):
        process = re.fullmatch(re.escape(path.name) + r"\.tmp(\d+)(-old)?", sibling.name)
        if process and not _is_another_running_process(int(process[1])):
            _remove(sibling)
    return path.with_name(f"{path.name}.tmp{os.getpid()}")


def _is_another_running_process(number: int) -> bool:
    if number == os.getpid() or os.name != "posix":  # Windows refuses to remove a file that a process has open
        return False
    try:
        os.kill(number, 0)  # sends no signal
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk, so that they survive a power failure."""
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
