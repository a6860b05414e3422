"""Tables from files: what formats there are, how each is read, and what is said when one cannot be."""

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
    "credentials, region and endpoint of an object store are read from its usual environment variables, such as "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL"
)


def is_url(path: str) -> bool:
    """Whether the path is an object store's or a web address, not a place on this machine."""
    return "://" in path


def format_of(path: str, role: str) -> Format:
    """The format that a path's suffix tells; a folder, or a URL that ends in a slash, holds Parquet files.

    Args:
        path: file, folder, glob or URL.
        role: what is read, for the message.

    Raises:
        ValueError: a suffix that stands for no format that can be read.
    """
    name = Path(path)
    if path.endswith("/") if is_url(path) else name.is_dir():
        return "Parquet"
    suffixes = [suffix.lower() for suffix in name.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise UserError(
            f"{role}: the format of {path} is not known; a file ends in {', '.join(SUFFIXES)} (text also in .gz or "
            ".zst), a folder holds Parquet files (as a URL it ends in /)"
        )
    return SUFFIXES[suffixes[-1]]


def locate(path: str, role: str) -> list[Path]:
    """The files on this machine that a path, folder or glob stands for; none for a URL.

    In a folder names that begin with ``_`` or ``.`` are passed over, as Spark does: they are no data.

    Raises:
        FileNotFoundError: there is none; the message has the absolute path and what lies near it.
    """
    if is_url(path):
        return []
    name = Path(path)
    found = [name] if name.is_file() else [Path(each) for each in glob(path, recursive=True)]
    if name.is_dir():
        found = [each for each in name.rglob("*.parquet") if not _is_hidden(each.relative_to(name))]
        if not found:
            raise FileNotFoundError(f"{role}: the folder {name.absolute()} holds no .parquet file")
    files = sorted(each for each in found if each.is_file())
    if not files:
        raise FileNotFoundError(f"{role}: there is no {name.absolute()}; {_surroundings(name.absolute())}")
    return files


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _surroundings(missing: Path) -> str:
    folder = next(parent for parent in missing.parents if parent.is_dir())
    child = missing.relative_to(folder).parts[0]
    there = sorted(each.name for each in folder.iterdir())
    near = nearest_names(child, there, 5)
    more = f" and {len(there) - len(near):,} more" if len(there) > len(near) else ""
    return f"{folder} holds {', '.join(near)}{more}" if there else f"{folder} is empty"


def read(path: str, role: str, quote: bool | None, text_columns: Sequence[str]) -> pl.DataFrame:
    """A whole table.

    Args:
        path: file, folder of Parquet files, glob or URL.
        role: what is read, for the message.
        quote: whether ``"`` encloses fields of CSV and TSV; None = in CSV only.
        text_columns: columns of CSV and TSV that are read as text, whatever they look like.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read.
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
    """Name the line that cannot be decoded, which Polars does not; a file that zstd has packed is passed over."""
    for path in (each for each in files if each.suffix != ".zst"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    found = line[max(error.start - 20, 0) : error.end + 20].rstrip()
                    raise UserError(
                        f"{role}: line {number:,} of {path} is no UTF-8, at byte {error.start + 1}: …{found!r}…; save "
                        "the file as UTF-8"
                    ) from error


def _require_fields(files: Sequence[Path], kind: Format, quoted: bool, role: str) -> None:
    """Name the line that has more fields than the first, which Polars does not."""
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
                        f"{role}: line {rows.line_num:,} of {path} has {len(fields)} fields, the first line names "
                        f"{len(names)}: {', '.join(names)}"
                        + ('; a text that holds the separator stands between " and "' if quoted else "")
                    )


def _quoted(kind: Format, quote: bool | None) -> bool:
    return kind == "CSV" if quote is None else quote


def _scan(
    path: str, files: Sequence[Path], kind: Format, quote: bool | None, text_columns: Sequence[str]
) -> pl.LazyFrame:
    if is_url(path) and path.endswith("/"):
        return pl.scan_parquet(f"{path}**/*.parquet", hive_partitioning=True)
    if not is_url(path) and Path(path).is_dir():  # folders such as year=2024 are columns
        return pl.scan_parquet(list(files), hive_partitioning=True, glob=False)
    if not is_url(path) and Path(path).is_file():
        path = escape(path)  # a file's own name may hold a bracket
    if kind == "Parquet":
        return pl.scan_parquet(path)
    if kind == "JSON Lines":
        return pl.scan_ndjson(path, infer_schema_length=None)
    return pl.scan_csv(
        path,
        separator=_SEPARATORS[kind],
        quote_char='"' if _quoted(kind, quote) else None,
        schema_overrides=dict.fromkeys(text_columns, pl.String),
        infer_schema_length=None,  # types that the first rows suggest fail in the millionth
    )
