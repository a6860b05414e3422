"""A folder that knows its content: ``files.json`` in it has the size and the checksum of each file.

Whoever reads the folder first compares them. A flipped bit, a zeroed block or a file of another folder is found before
anything is computed from it. The checksum is CRC-32, about 2 GB/s from memory on one core; files are read in parallel,
and their pages stay in the page cache for the reader who maps them afterwards.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dssm_lightning.utils.atomic_files import atomic_folder

FILES = "files.json"
"""The file with the names, sizes and checksums of the other files."""
_AT_ONCE = 1 << 22  # bytes
_LONGEST = 1 << 26  # bytes of files.json: a greater one is damaged
_LOCAL_NUMBERS = ("LOCAL_RANK", "SLURM_LOCALID")


class _Content(NamedTuple):
    size: int
    checksum: int


@contextmanager
def checked_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; at the end, list its files, flush it and rename it to ``path``.

    The folder holds files only, no folders. Everything else is as in
    :func:`~dssm_lightning.utils.atomic_files.atomic_folder`.

    Raises:
        OSError: a file or a folder cannot be written, for example because the disk is full.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "cache")
        ...     with checked_folder(path) as temporary:
        ...         _ = (temporary / "labels").write_bytes(b"0101")
        ...     before = damaged_files(path)
        ...     _ = (path / "labels").write_bytes(b"0111")
        ...     print(before, damaged_files(path))
        [] ['labels']
    """
    with atomic_folder(path) as temporary:
        yield temporary
        files = {each.name: list(_content(each)) for each in sorted(temporary.iterdir())}
        listed = {"folder": path.name, "files": files}
        (temporary / FILES).write_text(json.dumps({**listed, "checksum": _checksum_of(listed)}), encoding="utf-8")


def listed_files(folder: Path) -> list[str]:
    """Return the names of the files with which the folder was written; none if ``files.json`` is damaged."""
    return list(_listed(folder) or {})


def damaged_files(folder: Path, every_process: bool = False) -> list[str]:
    """Return the names of files that are missing or have another content than that with which they were written.

    Every byte is read, unless another process of this machine does it: of processes that train together, only the
    first of each machine compares checksums, and the others compare sizes.

    Args:
        folder: the folder.
        every_process: each process compares checksums, where no process waits for the first one.

    Returns:
        names in the order of the alphabet; ``files.json`` alone if the folder is missing or its list is damaged.
    """
    files = _listed(folder)
    if files is None:
        return [FILES]
    names = [name for name, content in files.items() if _size(folder / name) != content.size]
    if not names and (every_process or _is_first_of_machine()):
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            same = pool.map(lambda name: _has(folder / name, files[name]), files)
            names = [name for name, is_same in zip(files, same, strict=True) if not is_same]
    return sorted(names)


def _listed(folder: Path) -> dict[str, _Content] | None:
    """Return what ``files.json`` says of each file; None if it cannot be trusted."""
    path = folder / FILES
    try:
        if not 0 < (_size(path) or 0) <= _LONGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        listed = {"folder": found["folder"], "files": found["files"]}
        if found["checksum"] != _checksum_of(listed) or found["folder"] != folder.name:
            return None
        return {name: _Content(*content) for name, content in found["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _checksum_of(listed: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(listed, sort_keys=True).encode())


def _size(path: Path) -> int | None:
    """Return the size of a regular file; None for anything else, such as a pipe, which would wait for its writer."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _has(path: Path, content: _Content) -> bool:
    try:
        return _content(path) == content
    except OSError:  # it cannot be read, or it vanished
        return False


def _content(path: Path) -> _Content:
    size, checksum, buffer = 0, 0, bytearray(_AT_ONCE)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size, checksum = size + count, zlib.crc32(view[:count], checksum)
    return _Content(size, checksum)


def _is_first_of_machine() -> bool:
    dist = sys.modules.get("torch.distributed")  # not imported here: without it there is one process
    together = dist is not None and dist.is_available() and dist.is_initialized()
    return not together or all(os.environ.get(name, "0") == "0" for name in _LOCAL_NUMBERS)
