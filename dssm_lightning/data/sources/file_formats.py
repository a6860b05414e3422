"""The formats of files, and the search for files."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Literal

from dssm_lightning.data.sources.picture_folders import has_pictures, is_picture
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean, nearest_names

Format = Literal["CSV", "TSV", "delimited text", "JSON Lines", "Parquet", "pictures"]

SUFFIXES: dict[str, Format] = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON Lines",
    ".parquet": "Parquet",
    ".pq": "Parquet",
}
DELIMITED: tuple[Format, ...] = ("CSV", "TSV", "delimited text")
"""Formats whose columns are text as written."""
COMPRESSED = (".gz", ".zst")
FROM_HERE = "; a relative path starts from the folder in which the command runs"


def is_url(path: str) -> bool:
    """Return whether the path is a URL, of an object store or of the web."""
    return "://" in path


def expanded(path: str) -> str:
    """Return the path with the user's home in place of ``~``; a URL stays.

    Raises:
        UserError: ``~name`` of a user whom this machine does not know.
    """
    if is_url(path) or not path.startswith("~") or Path(path).exists():
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise UserError(f"{path}: no home is known for {Path(path).parts[0]}; write the whole path") from error


def format_of(path: str, role: str, separated: bool = False) -> Format:
    """Return the format of a path, from its suffix. A folder has Parquet files, or else pictures.

    A URL that ends in a slash is a folder of Parquet files.

    Args:
        path: file, folder, glob or URL.
        role: the table's name, for the message.
        separated: whether a separator was given, so that a file of any other suffix is delimited text.

    Raises:
        UserError: the suffix belongs to no known format.
    """
    name = Path(expanded(path))
    if path.endswith("/") if is_url(path) else name.is_dir():
        return "pictures" if name.is_dir() and not _in_folder(name) and has_pictures(name) else "Parquet"
    suffixes = [suffix.lower() for suffix in name.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    if suffixes and suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    if separated:
        return "delimited text"
    raise UserError(
        f"{role}: the format of {path} is not known; possible are files that end in {', '.join(SUFFIXES)} (text "
        "also with .gz or .zst), folders of Parquet files (the URL of a folder ends in /) or of pictures, and text "
        "with other endings if its `separator` is given"
    )


def locate(path: str, role: str) -> list[Path]:
    """Find the local files of a path, folder or glob; return an empty list for a URL.

    In a folder, names that begin with ``_`` or ``.`` are ignored, as in Spark.

    Raises:
        FileNotFoundError: no file. The message has the absolute path and the files nearby.
    """
    if is_url(path):
        return []
    name = Path(expanded(path))
    found = [name] if name.is_file() else [Path(each) for each in glob(str(name), recursive=True)]
    if name.is_dir():
        found = _in_folder(name) or [each for each in name.rglob("*") if is_picture(each.name)]
        found = [each for each in found if not _is_hidden(each.relative_to(name))]
        if not found:
            raise FileNotFoundError(
                f"{role}: the folder {name.absolute()} has no .parquet file and no picture; for other files "
                f"give a glob, such as {name / '*.csv'}"
            )
    files = sorted(each for each in found if each.is_file())
    if not files:
        raise FileNotFoundError(f"{role}: no such file {name.absolute()}; {_surroundings(name)}")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder."""
    return [each for each in folder.rglob("*.parquet") if not _is_hidden(each.relative_to(folder))]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _surroundings(path: Path) -> str:
    """Return a text that lists the names in the nearest existing folder, the most similar ones first.

    Where none of them is similar, a relative path was probably meant from another folder.
    """
    missing = path.absolute()
    folder = next(parent for parent in missing.parents if parent.is_dir())
    child = missing.relative_to(folder).parts[0]
    names = sorted(each.name for each in folder.iterdir())
    similar = nearest_names(child, names, 5)
    more = f" and {len(names) - len(similar):,} more" if len(names) > len(similar) else ""
    from_here = "" if path.is_absolute() or did_you_mean(child, names) else FROM_HERE
    return (f"{folder} has {', '.join(similar)}{more}" if names else f"{folder} is empty") + from_here
