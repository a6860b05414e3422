"""What tells the files of a bundle from other ones, and from themselves after a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What tells a file from another one, and from itself after a change."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """Return the stamp of a file; None if there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def is_changed(self, now: Stamp) -> bool:
        """Whether it is the same file with other contents, or perhaps other contents."""
        return (self.device, self.inode) == (now.device, now.inode) and self != now


Stamps = Mapping[str, Stamp | None]
"""Stamps by the names of files."""


def stamps_of(folder: Path, names: Iterable[str]) -> Stamps:
    """Return the stamp of each file of a folder."""
    return {name: Stamp.of(folder / name) for name in names}


def is_as_before(before: Stamp | None, now: Stamp | None) -> bool:
    """Return whether two looks found equal files; some mounted file systems make up another inode for each look.

    Example:
        >>> is_as_before(Stamp(1, 2, 30, 4), Stamp(1, 9, 30, 4)), is_as_before(Stamp(1, 2, 30, 4), Stamp(1, 2, 30, 5))
        (True, False)
    """
    return before is not None and now is not None and before[2:] == now[2:]
