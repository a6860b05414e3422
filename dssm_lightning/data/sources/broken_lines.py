"""Name the line of a text file that cannot be read: Polars says what is wrong, but not where."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal

import polars as pl

from dssm_lightning.data.sources.text_layout import is_zstandard, opened
from dssm_lightning.utils.errors import UserError

LARGEST = 2**127
"""Polars has no column for integers from this one on."""
SHOWN = 60
"""Number of characters of a line that a message shows."""
_LIST_OR_OBJECT = r'^(?:\[(?:["\[{\]0-9-]|true|false|null)|\{["}])'
"""How a text begins that Polars made of a list or an object."""
_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


def require_utf8(path: Path, role: str, shown: Path) -> None:
    """Refuse a line that is not UTF-8.

    Args:
        path: the file. Files packed by Zstandard are not checked.
        role: the table's name.
        shown: the file's name in the message.

    Raises:
        UserError: the first such line.
    """
    if is_zstandard(path):
        return
    with opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                found = line[max(error.start - 20, 0) : error.end + 20].rstrip()
                raise UserError(
                    f"{role}: line {number:,} of {shown} is not UTF-8, at byte {error.start + 1}: …{found!r}…; save "
                    "the file as UTF-8, or name its `encoding`, such as latin-1 or cp1252"
                ) from error


def require_quotes(path: Path, role: str, separator: str, shown: Path) -> None:
    """Refuse a field in which quotation marks are not closed, or stand beside other text.

    Raises:
        UserError: the first such line.
    """
    if is_zstandard(path):
        return
    part = rf'(?:"(?:[^"]|"")*"|[^"{re.escape(separator)}]*)'
    whole = re.compile(rf"{part}(?:{re.escape(separator)}{part})*", re.DOTALL)
    text, first = "", 0
    with _text(path, "\n") as lines:
        for number, line in enumerate(lines, 1):
            first, text = first if text else number, text + line
            if text.count('"') % 2 == 0:
                if not whole.fullmatch(text.rstrip("\r\n")):
                    raise _wrong_quotes(role, first, shown, text)
                text = ""
    if text:
        raise _wrong_quotes(role, first, shown, text)


def _wrong_quotes(role: str, number: int, shown: Path, text: str) -> UserError:
    return UserError(
        f"{role}: line {number:,} of {shown} has a quotation mark that is not closed, or stands within a field: "
        f'{_cut(text)}; write it twice ("") within a field that " encloses, or set `quote: false`, so that " is an '
        "ordinary character"
    )


def require_fields(
    path: Path, role: str, separator: str, quoted: bool, shown: Path, columns: Sequence[str] | None
) -> None:
    """Refuse a line with more fields than the first line has, or than there are names.

    Raises:
        UserError: the first such line.
    """
    if is_zstandard(path):
        return
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    with _text(path) as lines, suppress(csv.Error):
        rows = csv.reader(lines, delimiter=separator, quoting=quoting)
        names = list(columns) if columns is not None else next(rows, [])
        by = "the first line names" if columns is None else "`columns` names"
        for fields in rows:
            if len(fields) > len(names):
                raise UserError(
                    f"{role}: line {rows.line_num:,} of {shown} has {len(fields)} fields, but {by} "
                    f"{len(names)}: {', '.join(names)}"
                    + ('; enclose a text that contains the separator in "' if quoted else "")
                )


def require_objects(path: Path, role: str, shown: Path) -> None:
    """Refuse a line of JSON Lines that is no object, and columns whose values are of kinds that do not mix.

    Raises:
        UserError: the first such line.
    """
    if is_zstandard(path):
        return
    kinds: dict[str, dict[str, int]] = {}
    for number, row in _rows(path, role, shown):
        for name, value in row.items():
            if isinstance(value, int | float) and abs(value) >= (LARGEST if isinstance(value, int) else math.inf):
                place = f"line {number:,} of {shown}: column {name!r}"
                raise UserError(f"{role}: {place} has a number beyond 128 bits; write it as text")
            if value is not None:
                kinds.setdefault(name, {}).setdefault(_KINDS[type(value)], number)
    _require_one_kind(kinds, role, shown)


def require_texts(frame: pl.DataFrame, files: Sequence[tuple[Path, Path]], role: str) -> None:
    """Refuse columns of text in which some lines of JSON Lines have lists or objects.

    Polars makes texts of them. The lines are looked at only if a text looks like a list or an object.

    Args:
        frame: the table.
        files: the file that was read, and its name in a message.
        role: the table's name.

    Raises:
        UserError: such a column, with two lines.
    """
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    doubtful = {name for name in texts if frame[name].str.contains(_LIST_OR_OBJECT).any()}
    if not doubtful:
        return
    for path, shown in files:
        if is_zstandard(path):
            continue
        kinds: dict[str, dict[str, int]] = {name: {} for name in doubtful}
        for number, row in _rows(path, role, shown):
            for name in doubtful & row.keys():
                if row[name] is not None:
                    kinds[name].setdefault(_KINDS[type(row[name])], number)
        _require_one_kind(kinds, role, shown, mixing=("a number", "a text", "a truth value"))


def _require_one_kind(
    kinds: dict[str, dict[str, int]], role: str, shown: Path, mixing: Collection[str] = ("a number", "a text")
) -> None:
    for name, found in kinds.items():
        if len(found) > 1 and not found.keys() <= set(mixing):
            told = " and ".join(f"{kind} in line {line:,}" for kind, line in list(found.items())[:2])
            raise UserError(f"{role}: column {name!r} of {shown} has {told}; write values of one kind")


def _rows(path: Path, role: str, shown: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line that is not blank.

    Raises:
        UserError: a line that holds no object.
    """

    def no_json(name: str) -> None:
        raise UserError(f"{name} is no JSON; write null for a missing number")

    with _text(path, "\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.rstrip("\r\n"), parse_constant=no_json)
            except (ValueError, RecursionError) as error:  # UserError is a ValueError
                reason = _reason(error, line)
                raise UserError(
                    f"{role}: line {number:,} of {shown} cannot be read as JSON Lines: {reason}: {_cut(line)}; correct "
                    "or remove the line"
                ) from error
            if not isinstance(row, dict):
                raise UserError(
                    f"{role}: line {number:,} of {shown} holds {_KINDS.get(type(row), 'null')}, not an object: "
                    f'{_cut(line)}; each line must be one object, such as {{"query_id": 1, "candidate_id": 2}}'
                )
            yield number, row


def _reason(error: Exception, line: str) -> str:
    if line.lstrip().startswith("["):
        return "a list begins here, but each line must be one object, without commas between the lines"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _text(path: Path, newline: str = "") -> TextIOWrapper:
    return TextIOWrapper(opened(path), encoding="utf-8", errors="replace", newline=newline)


def _cut(text: str) -> str:
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
