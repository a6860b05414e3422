"""Columns of pictures: paths whose folder is found, or bytes; a few of them are decoded."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dssm_lightning.data.sources.picture_folders import PICTURES

TRIED = 20
"""Pictures of a column that are decoded."""
_FOLDERS = 50


@dataclass(frozen=True)
class Pictures:
    """Pictures of a column: how many of those that were tried cannot be read, and the folder of their paths."""

    unreadable: int
    root: str | None = None
    note: str = ""
    dtype: str | None = None
    """The type for `Files(dtypes=…)`."""


def pictures_of(column: pl.Series, folders: Sequence[Path]) -> Pictures | None:
    """Return what is known of pictures; None if the values are no pictures.

    Args:
        column: (n,) texts or bytes.
        folders: folders in which relative paths may begin, the likeliest first. Folders in them are tried, too.

    Example:
        >>> pictures_of(pl.Series(["red shoe", "hat"]), []) is None
        True
    """
    filled = column.drop_nulls()
    if column.dtype == pl.Binary:
        tried = filled.head(TRIED).to_list()
        bad = sum(not _decodes(io.BytesIO(value)) for value in tried)
        return None if bad == len(tried) else Pictures(bad)
    filled = filled.filter(filled.str.len_chars() > 0)
    if len(filled) and _are_base64(filled.head(TRIED).to_list()):
        tried = [io.BytesIO(base64.b64decode(each.rpartition(",")[2])) for each in filled.head(TRIED).to_list()]
        return Pictures(sum(not _decodes(each) for each in tried), dtype="base64")
    endings = "|".join(PICTURES).replace(".", r"\.")
    if not len(filled) or int(filled.str.contains(rf"(?i)({endings})$").sum()) < 0.95 * len(filled):
        return None
    tried = filled.unique(maintain_order=True).head(TRIED).to_list()
    if sum("://" in each for each in tried) > len(tried) / 2:
        return Pictures(len(tried), None, "pictures behind web addresses are not read: download them, name the files")
    root = _root(tried, folders)
    bad = sum(not _decodes(Path(root or "") / each) for each in tried)
    note = "" if bad < len(tried) else f"no such picture as {tried[0]!r} near the table"
    return Pictures(bad, root, note)


def _root(paths: Sequence[str], folders: Sequence[Path]) -> str | None:
    if any(Path(path).is_file() for path in paths[:3]):
        return None
    for folder in folders:
        below = sorted(each for each in folder.iterdir() if each.is_dir())[:_FOLDERS] if folder.is_dir() else []
        for root in (folder, *below):
            if any((root / path).is_file() for path in paths[:3]):
                return str(root)
    return None


def _decodes(source: Path | io.BytesIO) -> bool:
    from PIL import Image

    with suppress(Exception):  # Pillow raises errors of many classes for damaged files
        if isinstance(source, Path) and not source.is_file():
            return False
        with Image.open(source) as picture:
            picture.draft("RGB", (64, 64))
            if picture.width * picture.height <= 64_000_000:
                picture.load()
                return True
    return False


def _are_base64(values: Sequence[str]) -> bool:
    def is_picture(value: str) -> bool:
        body = value.partition("base64,")[2] if value.startswith("data:image") else value
        if len(body) < 60:
            return False
        with suppress(binascii.Error, ValueError):
            return (
                base64.b64decode(body[:64], validate=True)[:4] in (b"\x89PNG", b"GIF8", b"RIFF") or body[:4] == "/9j/"
            )
        return False

    return all(map(is_picture, values))
