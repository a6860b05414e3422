"""A folder of pictures as a table: one row for each picture, named by its file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the files that count as pictures."""


def is_picture(name: str) -> bool:
    """Return whether a file's name ends as that of a picture."""
    return name.lower().endswith(PICTURES)


def has_pictures(folder: Path) -> bool:
    """Return whether a folder, or a folder in it, has a picture."""
    return any(is_picture(each.name) for each in folder.rglob("*") if not each.name.startswith("."))


def picture_table(files: Sequence[Path], folder: Path) -> pl.DataFrame:
    """Return the columns of pictures in a folder.

    picture: the path within the folder. file_name: without the folders. stem: without the ending. name: the words of
    the stem, without a number that only counts pictures of one name; a stem without letters has the name of its folder.
    folder: the folders, if there are any.

    Example:
        >>> files = [Path("shop", name) for name in ("red_shoe.png", "greenHat-1.jpg", "greenHat-2.jpg")]
        >>> picture_table(files, Path("shop"))["name"].to_list()
        ['red shoe', 'green hat', 'green hat']
    """
    paths = [file.relative_to(folder) for file in files]
    whole = [_words(path) for path in paths]
    plain = [re.sub(r"[\s(]*\d+[\s)]*$", "", words) or words for words in whole]
    counts = Counter(plain)
    columns = {
        "picture": [path.as_posix() for path in paths],
        "file_name": [path.name for path in paths],
        "stem": [path.stem for path in paths],
        "name": [short if counts[short] > 1 else words for short, words in zip(plain, whole, strict=True)],
    }
    if any(len(path.parts) > 1 for path in paths):
        columns["folder"] = [path.parent.as_posix() for path in paths]
    return pl.DataFrame(columns)


def _words(path: Path) -> str:
    stem = path.stem
    if not any(letter.isalpha() for letter in stem) and len(path.parts) > 1:
        stem = f"{path.parts[-2]} {stem}"
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)
    return " ".join(re.sub(r"[_\-.+]+", " ", apart).lower().split())
