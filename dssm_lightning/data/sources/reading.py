"""Read a table from a file, a folder, a glob or a URL. Text columns stay as written."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl

from dssm_lightning.data.sources import broken_lines
from dssm_lightning.data.sources.file_formats import DELIMITED, Format, expanded, format_of, is_url, locate
from dssm_lightning.data.sources.picture_folders import picture_table
from dssm_lightning.data.sources.text_layout import UNIT, TextLayout, copied, is_zstandard, needs_copy
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.errors import UserError

CREDENTIALS = (
    "credentials, region and endpoint of an object store come from its usual environment variables, such as "
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL"
)


class _Input(NamedTuple):
    """What Polars reads."""

    path: str
    files: list[Path]  # local files
    readable: list[Path]  # the files, or their copies in UTF-8
    kind: Format
    layout: TextLayout

    @property
    def is_copied(self) -> bool:
        return self.files != self.readable


def read(
    path: str,
    role: str,
    layout: TextLayout | None = None,
    part: Callable[[pl.LazyFrame], pl.LazyFrame] | None = None,
) -> pl.DataFrame:
    """Read a table. Columns of CSV, TSV and other delimited text are text as written; blank lines are left out.

    Args:
        path: file, folder of Parquet files, glob or URL; ``~`` is the user's home.
        role: the table's name, for the message.
        layout: how text is written; None = as the format has it.
        part: what to compute of the table, such as its first rows; None = the whole table.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file cannot be read. The message names the first line that is wrong, if one is.
    """
    layout = layout or TextLayout()
    kind = format_of(path, role, layout.separator is not None)
    files = locate(path, role)
    if files and not any(each.stat().st_size for each in files):
        raise UserError(f"{role}: {path} is empty: 0 bytes")
    if kind == "pictures":
        pictures = picture_table(files, Path(expanded(path)))
        return pictures if part is None else part(pictures.lazy()).collect()
    with ExitStack() as copies:
        try:
            readable = _readable(files, kind, layout, copies)
            source = _Input(expanded(path), files, readable, kind, layout)
            _require_one_byte(source)
        except UserError as error:
            raise UserError(f"{role}: {error}") from error
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(path, role, kind, error) from error
        return _collected(source, role, path, part)


def _readable(files: list[Path], kind: Format, layout: TextLayout, copies: ExitStack) -> list[Path]:
    """Return the files, or copies in UTF-8 of those that Polars cannot read; ``copies`` deletes them."""
    if kind == "Parquet":
        return files
    found: list[Path] = []
    for number, file in enumerate(files):
        encoding = needs_copy(file, kind, layout)
        if encoding is None:
            found.append(file)
            continue
        if is_zstandard(file):
            raise UserError(f"{file} cannot be read with this separator or encoding: decompress it, or use .gz")
        folder = copies.enter_context(TemporaryDirectory(prefix="dssm-lightning-"))
        found.append(Path(folder, f"{number}.txt"))
        copied(file, kind, layout, encoding, found[-1])
    return found


def _require_one_byte(source: _Input) -> None:
    """Refuse a URL whose text Polars cannot read without a copy."""
    layout, plain = source.layout, (source.layout.encoding or "utf-8").lower().replace("_", "-")
    other = source.kind in DELIMITED and layout.read_separator(source.kind) == UNIT
    if is_url(source.path) and source.kind != "Parquet" and (other or plain not in ("utf-8", "utf8", "ascii")):
        raise UserError(f"{source.path} cannot be read from a URL with this separator or encoding: download it first")


def _collected(
    source: _Input, role: str, path: str, part: Callable[[pl.LazyFrame], pl.LazyFrame] | None
) -> pl.DataFrame:
    try:
        scan = _scan(source, role)
        scan = scan if part is None else part(scan)
        large = is_url(path) or sum(each.stat().st_size for each in source.readable) > memory_mapped.LARGE_FILE
        frame = memory_mapped.frame(scan) if large else scan.collect()
    except UserError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:
        with suppress(EOFError, zlib.error, OSError):  # the compressed file is damaged, as Polars says
            _require_lines(source, role)
        raise _unreadable(path, role, source.kind, error) from error
    if source.kind == "JSON Lines" and part is None:
        broken_lines.require_texts(frame, list(zip(source.readable, source.files, strict=True)), role)
    return frame


def _unreadable(path: str, role: str, kind: Format, error: Exception) -> UserError:
    hint = f"; {CREDENTIALS}" if is_url(path) else ""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return UserError(f"{role}: {path} cannot be read as {kind}: {reason}{hint}")


def _require_lines(source: _Input, role: str) -> None:
    """Name the line that is wrong.

    Raises:
        UserError: a line that is wrong.
    """
    kind, layout = source.kind, source.layout
    if kind == "Parquet":
        return
    for file, shown in zip(source.readable, source.files, strict=True):
        broken_lines.require_utf8(file, role, shown)
        if kind == "JSON Lines":
            broken_lines.require_objects(file, role, shown)
            continue
        separator, quoted = layout.read_separator(kind), layout.quoted(kind)
        if quoted:
            broken_lines.require_quotes(file, role, separator, shown)
        broken_lines.require_fields(file, role, separator, quoted, shown, layout.columns)


def _scan(source: _Input, role: str) -> pl.LazyFrame:
    path, kind = source.path, source.kind
    if is_url(path) and path.endswith("/"):
        return pl.scan_parquet(f"{path}**/*.parquet", hive_partitioning=True)
    if not is_url(path) and Path(path).is_dir():  # folders such as year=2024 become columns
        return pl.scan_parquet(source.files, hive_partitioning=True, glob=False)
    if not is_url(path) and Path(path).is_file():
        path = escape(path)  # the name of a file may contain a bracket
    if kind == "Parquet":
        return pl.scan_parquet(path)
    scanned: str | list[Path] = source.readable if source.is_copied else path
    if kind == "JSON Lines":
        return pl.scan_ndjson(scanned, infer_schema_length=None)
    return _delimited(source, scanned, role)


def _delimited(source: _Input, scanned: str | list[Path], role: str) -> pl.LazyFrame:
    layout, kind = source.layout, source.kind
    scan = pl.scan_csv(
        scanned,
        separator=layout.read_separator(kind),
        quote_char='"' if layout.quoted(kind) else None,
        has_header=layout.columns is None,
        infer_schema=False,
    )
    names = scan.collect_schema().names()
    if layout.columns is None:
        _require_distinct(names, role, source.path)
    else:
        scan = scan.rename(dict(zip(names, _all_named(layout.columns, names, scan, role, source.path), strict=True)))
    scan = scan.filter(~pl.all_horizontal(pl.all().fill_null("").str.strip_chars() == ""))  # blank lines
    if layout.read_separator(kind) == UNIT and layout.quoted(kind):
        return scan.with_columns(pl.all().str.replace_all(UNIT, layout.separator_of(kind), literal=True))
    return scan


def _require_distinct(names: Sequence[str], role: str, path: str) -> None:
    for name in names:
        again = re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)
        if again and again[1] in names:
            raise UserError(f"{role}: the first line of {path} names column {again[1]!r} twice; rename one of the two")


def _all_named(columns: Sequence[str], found: Sequence[str], scan: pl.LazyFrame, role: str, path: str) -> Sequence[str]:
    if len(columns) != len(found):
        raise UserError(
            f"{role}: `columns` has {len(columns)} names ({', '.join(columns)}), but the first line of {path} has "
            f"{len(found)} fields; name each of them"
        )
    first = scan.head(1).collect()
    if first.rows() == [tuple(columns)]:
        raise UserError(f"{role}: the first line of {path} has the names of the columns; leave out `columns`")
    return columns
