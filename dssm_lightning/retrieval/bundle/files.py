"""The files of a bundle: plain files of its own folder, with the sizes and checksums that the manifest lists."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dssm_lightning.utils.errors import UserError

MANIFEST, CARD = "manifest.json", "README.md"
"""The file that lists the others; the model card, which its readers may change."""
LONGEST_NAME = 200  # bytes
_AT_ONCE = 1 << 22  # bytes


class Content(NamedTuple):
    """The size and the SHA-256 of a file.

    Example:
        >>> Content(0, hashlib.sha256().hexdigest()).sha256[:8]
        'e3b0c442'
    """

    size: int  # bytes
    sha256: str


def content_of(path: Path) -> Content:
    """Return the size and the SHA-256 of a file."""
    size, digest, buffer = 0, hashlib.sha256(), bytearray(_AT_ONCE)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
            digest.update(view[:count])
    return Content(size, digest.hexdigest())


def names_in(folder: Path) -> Iterator[str]:
    """Yield the names of the files of a folder and its folders, relative to it, in order; hidden ones are left out.

    Raises:
        UserError: a link, or something else that is neither a file nor a folder.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # such as .git, .cache
            continue
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            raise UserError(f"{path} is a link; a bundle consists of files of its own folder")
        if stat.S_ISDIR(kind):
            yield from (f"{path.name}/{name}" for name in names_in(path))
        elif stat.S_ISREG(kind):
            yield path.name
        else:
            raise UserError(f"{path} is no regular file; a bundle consists of files")


def list_files(folder: Path) -> dict[str, Content]:
    """Return the content of each file that a manifest lists: all but the manifest itself and the model card."""
    return {name: content_of(folder / name) for name in names_in(folder) if name not in (MANIFEST, CARD)}


def require_plain_name(name: str, source: str) -> None:
    """Refuse the name of a file that would lie outside the bundle, or that some systems read otherwise.

    Raises:
        UserError: an absolute path, ``..``, a backslash, a drive, or an empty part.

    Example:
        >>> require_plain_name("../secret", "manifest.json")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: manifest.json names the file '../secret', which leaves the bundle's \
folder
    """
    parts = name.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(".") for part in parts)
    odd = odd or any(letter in '\\:*?"<>|' or not letter.isprintable() for letter in name)
    if odd or name in (MANIFEST, CARD) or PurePosixPath(name).is_absolute() or len(name.encode()) > LONGEST_NAME:
        raise UserError(f"{source} names the file {name[:80]!r}, which leaves the bundle's folder")


def require_no_conflict(names: Collection[str], source: str) -> None:
    """Refuse a name that would be both a file and a folder, or that some systems read as another one.

    Raises:
        UserError: such a name.

    Example:
        >>> require_no_conflict(["index", "index/a.npy"], "manifest.json")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: manifest.json names 'index' as a file and as a folder
    """
    folded = {name.casefold() for name in names}
    if len(folded) < len(names):
        raise UserError(f"{source} names two files that differ in upper and lower case alone")
    for name in names:
        for folder in map(str, PurePosixPath(name).parents):
            if folder.casefold() in folded:
                raise UserError(f"{source} names {folder!r} as a file and as a folder")


def verify_files(folder: Path, files: Mapping[str, Content], checksums: bool = True) -> None:
    """Compare the files of a folder with those that its manifest lists.

    Args:
        folder: the bundle.
        files: the listed files.
        checksums: also compare the SHA-256 of each file, for which all of it is read.

    Raises:
        UserError: a file is missing, changed, or in the folder but not in the list; a link.
    """
    found = [name for name in names_in(folder) if name not in (MANIFEST, CARD)]
    remedy = "export the bundle again, or pull it again"
    for name in files:
        if name not in found:
            raise UserError(f"{folder}: the file {name!r} is missing; {remedy}")
    for name in found:
        if name not in files:
            raise UserError(f"{folder}: the file {name!r} is not one of the bundle's, {MANIFEST} says: remove it")
    for name, content in files.items():
        size = os.stat(folder / name).st_size
        if size != content.size:
            raise UserError(
                f"{folder}: the file {name!r} has {size:,} bytes, {MANIFEST} says {content.size:,}; it was changed: "
                f"{remedy}"
            )
    for name, content in files.items() if checksums else ():
        if content_of(folder / name) != content:
            raise UserError(f"{folder}: the file {name!r} was changed: its checksum differs; {remedy}")
