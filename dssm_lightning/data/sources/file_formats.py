"""Read tables from files: the formats, the search for files, and messages for files that cannot be read."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from contextlib import suppress
from glob import escape, glob
from pathlib import Path
from typing import Literal

import polars as pl

from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names

Format = Literal["CSV", "TSV", "JSON Lines", "Parquet"]

SUFFIXES: dict[str, Format] = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".parquet": "Parquet",
    ".pq": "Parquet",
}
COMPRESSED = (".gz", ".zst")
_SEPARATORS: dict[str, str] = {"CSV": ",", "TSV": "\t"}
CREDENTIALS = (
    "credentials, region and endpoint of an object store come from its usual environment variables, such as "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL"
)


def is_url(path: str) -> bool:
    """Return whether the path is a URL, of an object store or of the web."""
    return "://" in path


def format_of(path: str, role: str) -> Format:
    """Return the format of a path, from its suffix. A folder, or a URL that ends in a slash, has Parquet files.

    Args:
        path: file, folder, glob or URL.
        role: the table's name, for the message.

    Raises:
        UserError: the suffix belongs to no known format.
    """
    name = Path(path)
    if path.endswith("/") if is_url(path) else name.is_dir():
        return "Parquet"
    suffixes = [suffix.lower() for suffix in name.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise UserError(
            f"{role}: the format of {path} is not known; possible are files that end in {', '.join(SUFFIXES)} (text "
            "also with .gz or .zst) and folders of Parquet files (the URL of a folder ends in /)"
        )
    return SUFFIXES[suffixes[-1]]


def locate(path: str, role: str) -> list[Path]:
    """Find the local files of a path, folder or glob; return an empty list for a URL.

    In a folder, names that begin with ``_`` or ``.`` are ignored, as in Spark.

    Raises:
        FileNotFoundError: no file. The message has the absolute path and the files nearby.
    """
    if is_url(path):
        return []
    name = Path(path)
    found = [name] if name.is_file() else [Path(each) for each in glob(path, recursive=True)]
    if name.is_dir():
        found = [each for each in name.rglob("*.parquet") if not _is_hidden(each.relative_to(name))]
        if not found:
            raise FileNotFoundError(f"{role}: the folder {name.absolute()} has no .parquet file")
    files = sorted(each for each in found if each.is_file())
    if not files:
        raise FileNotFoundError(f"{role}: no such file {name.absolute()}; {_surroundings(name.absolute())}")
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _surroundings(missing: Path) -> str:
    """Return a text that lists the names in the nearest existing folder, the most similar ones first."""
    folder = next(parent for parent in missing.parents if parent.is_dir())
    child = missing.relative_to(folder).parts[0]
    names = sorted(each.name for each in folder.iterdir())
    similar = nearest_names(child, names, 5)
    more = f" and {len(names) - len(similar):,} more" if len(names) > len(similar) else ""
    return f"{folder} has {', '.join(similar)}{more}" if names else f"{folder} is empty"


def read(path: str, role: str, quote: bool | None, text_columns: Sequence[str]) -> pl.DataFrame:
    """Read a whole table.

    Args:
        path: file, folder of Parquet files, glob or URL.
        role: the table's name, for the message.
        quote: whether ``"`` encloses fields of CSV and TSV; None = in CSV only.
        text_columns: columns of CSV and TSV that are always read as text.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file cannot be read.
    """
    kind = format_of(path, role)
    files = locate(path, role)
    if files and not any(each.stat().st_size for each in files):
        raise UserError(f"{role}: {path} is empty: 0 bytes")
    try:
        scan = _scan(path, files, kind, quote, text_columns)
        large = is_url(path) or sum(each.stat().st_size for each in files) > memory_mapped.LARGE_FILE
        return memory_mapped.frame(scan) if large else scan.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        _require_utf8([] if kind == "Parquet" else files, role)
        if kind in _SEPARATORS:
            _require_fields(files, kind, _quoted(kind, quote), role)
        hint = f"; {CREDENTIALS}" if is_url(path) else ""
        raise UserError(f"{role}: {path} cannot be read as {kind}: {error}{hint}") from error


def _require_utf8(files: Sequence[Path], role: str) -> None:
    """Refuse a line that is not UTF-8. Polars does not name the line. Files compressed with zstd are not checked."""
    for path in (each for each in files if each.suffix != ".zst"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    found = line[max(error.start - 20, 0) : error.end + 20].rstrip()
                    raise UserError(
                        f"{role}: line {number:,} of {path} is not UTF-8, at byte {error.start + 1}: …{found!r}…; save "
                        "the file as UTF-8"
                    ) from error


def _require_fields(files: Sequence[Path], kind: Format, quoted: bool, role: str) -> None:
    """Refuse a line with more fields than the first line has. Polars does not name the line."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    for path in (each for each in files if each.suffix != ".zst"):
        with (
            gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines,
            suppress(csv.Error),
        ):
            rows = csv.reader(lines, delimiter=_SEPARATORS[kind], quoting=quoting)
            names = next(rows, [])
            for fields in rows:
                if len(fields) > len(names):
                    raise UserError(
                        f"{role}: line {rows.line_num:,} of {path} has {len(fields)} fields, but the first line names "
                        f"{len(names)}: {', '.join(names)}"
                        + ('; enclose a text that contains the separator in "' if quoted else "")
                    )


def _quoted(kind: Format, quote: bool | None) -> bool:
    return kind == "CSV" if quote is None else quote


def _scan(
    path: str, files: Sequence[Path], kind: Format, quote: bool | None, text_columns: Sequence[str]
) -> pl.LazyFrame:
    if is_url(path) and path.endswith("/"):
        return pl.scan_parquet(f"{path}**/*.parquet", hive_partitioning=True)
    if not is_url(path) and Path(path).is_dir():  # folders such as year=2024 become columns
        return pl.scan_parquet(list(files), hive_partitioning=True, glob=False)
    if not is_url(path) and Path(path).is_file():
        path = escape(path)  # the name of a file may contain a bracket
    if kind == "Parquet":
        return pl.scan_parquet(path)
    if kind == "JSON Lines":
        return pl.scan_ndjson(path, infer_schema_length=None)
    return pl.scan_csv(
        path,
        separator=_SEPARATORS[kind],
        quote_char='"' if _quoted(kind, quote) else None,
        schema_overrides=dict.fromkeys(text_columns, pl.String),
        infer_schema_length=None,  # types inferred from the first rows may fail in the millionth
    )
