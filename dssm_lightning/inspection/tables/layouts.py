"""How a text file is written: separator, quotation marks, encoding, and whether its first line has names."""

from __future__ import annotations

import codecs
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dssm_lightning.data.sources.file_formats import DELIMITED, SUFFIXES, Format, expanded, format_of, is_url, locate
from dssm_lightning.data.sources.text_layout import TextLayout, is_zstandard, opened
from dssm_lightning.inspection.profile import Role
from dssm_lightning.inspection.tables.headers import has_header
from dssm_lightning.inspection.tables.separators import Fields, find_fields
from dssm_lightning.inspection.tables.text_encodings import encoding_of
from dssm_lightning.utils.errors import UserError

MOST_COLUMNS = 1_000
"""Columns of a table; a vector of more numbers is one column of lists."""
_HEAD, _LONGEST_HEAD, _LINES = 1 << 18, 1 << 24, 20
_JUDGED = 1_000


@dataclass(frozen=True)
class Written:
    """A table as it is written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "ratings.dat")
        ...     _ = path.write_text("1::1193::5\\n1::661::3\\n")
        ...     written_as(str(path), "interactions").layout
        TextLayout(separator='::', encoding=None, quote=None, columns=('column_1', 'column_2', 'column_3'))
    """

    path: str
    """The file, or the glob of a folder's files."""
    kind: Format
    layout: TextLayout
    named: bool = True
    """Whether the first line has names; else the layout has numbered ones."""
    bytes_a_row: float = 100.0
    notes: tuple[str, ...] = ()


def written_as(path: str, role: Role) -> Written:
    """Find out how a table is written.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is empty, no text where its ending promises text, or has too many columns.
    """
    path = _files_of_folder(path)
    kind = format_of(path, role, separated=True)
    files = locate(path, role)
    if files and not any(each.stat().st_size for each in files):
        raise UserError(f"{role}: {path} is empty: 0 bytes")
    if not files or kind == "pictures":
        return Written(path, kind, TextLayout(separator="," if kind == "delimited text" else None))
    first = next(each for each in files if each.stat().st_size)
    if kind == "Parquet":
        return Written(path, kind, TextLayout(), bytes_a_row=_check_parquet(first, role))
    encoding = _encoding(files, role)
    text = _head(first, encoding)
    _check_json(text, kind, path, role)
    size = len(text) / max(1, text.count("\n"))
    if kind not in DELIMITED:
        return Written(path, kind, TextLayout(encoding=encoding), bytes_a_row=size)
    return _delimited(path, role, kind, encoding, text)


def _delimited(path: str, role: Role, kind: Format, encoding: str | None, text: str) -> Written:
    found = find_fields(_lines(text, _JUDGED), kind)
    if not found.rows:
        raise UserError(f"{role}: {path} has no line with a value")
    width = len(found.rows[0])
    _check_width(width, path, role)
    named = has_header(found.rows)
    layout = TextLayout(
        separator=None if found.separator == {"CSV": ",", "TSV": "\t"}.get(kind) else found.separator,
        encoding=encoding,
        quote=None if found.quoted == (kind == "CSV") else found.quoted,
        columns=None if named else tuple(f"column_{number}" for number in range(1, width + 1)),
    )
    size = len(text) / max(1, text.count("\n"))
    return Written(path, kind, layout, named, size, _notes(found, width))


def _notes(found: Fields, width: int) -> tuple[str, ...]:
    short = sum(len(row) < width for row in found.rows)
    return (f"{short:,} of the first {len(found.rows):,} lines have fewer fields than the first one",) if short else ()


def _files_of_folder(path: str) -> str:
    """Return a glob of the text files of a folder without Parquet files and pictures."""
    folder = Path(expanded(path))
    if is_url(path) or not folder.is_dir() or format_of(path, "") == "pictures" or any(folder.rglob("*.parquet")):
        return path
    for suffix in SUFFIXES:
        for ending in (suffix, f"{suffix}.gz", f"{suffix}.zst"):
            if any(folder.glob(f"*{ending}")):
                return str(folder / f"*{ending}")
    return path


def _encoding(files: list[Path], role: Role) -> str | None:
    found = {encoding_of(each, role) for each in files[:20] if each.stat().st_size} - {None}
    return sorted(name for name in found if name is not None)[0] if found else None


def _head(path: Path, encoding: str | None) -> str:
    """Return the first lines of a file; a line that is cut only if it is the only one."""
    if is_zstandard(path):
        lines = pl.scan_csv(path, separator="\x1f", quote_char=None, has_header=False, infer_schema=False)
        return "\n".join(lines.select(pl.first()).head(_JUDGED).collect().to_series().fill_null("")) + "\n"
    content, size = b"", _HEAD
    with opened(path) as file:
        while size <= _LONGEST_HEAD and content.count(b"\n") < _LINES:
            more = file.read(size)
            if not more:
                break
            content, size = content + more, size * 2
        whole = not file.read(1)
    if encoding is None:
        marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if content.startswith(marks) else "utf-8-sig"
    text = content.decode(encoding, "ignore").removeprefix("\ufeff")
    text = text.replace("\r", "\n") if "\n" not in text else text
    return text if whole or "\n" not in text else text[: text.rindex("\n") + 1]


def _lines(text: str, most: int) -> str:
    return "".join(text.splitlines(keepends=True)[:most]) if text.count("\n") > most else text


def _check_json(text: str, kind: Format, path: str, role: Role) -> None:
    start = text.lstrip()[:1]
    if kind == "JSON Lines" and start == "[":
        raise UserError(
            f"{role}: {path} is a JSON array; write one object a line, such as by `jq -c '.[]' {path} > {role}.jsonl`"
        )
    if start != "{" or not isinstance(first := _json(text.lstrip().partition("\n")[0]), dict):
        return
    if kind in DELIMITED:
        raise UserError(f"{role}: {path} holds JSON Lines: let its name end in .jsonl")
    _check_width(len(first), path, role)


def _json(line: str) -> object:
    with suppress(ValueError, RecursionError):
        return json.loads(line)
    return None


def _check_width(width: int, path: str, role: Role) -> None:
    if width > MOST_COLUMNS:
        raise UserError(
            f"{role}: {path} has {width:,} columns, but at most {MOST_COLUMNS:,} are possible: keep those that "
            "describe a row, and write the numbers of a vector as one column of lists (Parquet or JSON Lines)"
        )


def _check_parquet(path: Path, role: Role) -> float:
    try:
        schema = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{role}: {path} cannot be read as Parquet: {str(error).partition(chr(10))[0]}") from error
    _check_width(len(schema), str(path), role)
    rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return path.stat().st_size / max(1, int(rows))
