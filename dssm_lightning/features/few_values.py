"""A few raw values, one by one and without Polars, by the rules that whole columns follow.

What these functions refuse, the rules of whole columns refuse too, with a message that names the row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.iso_dates import BLANKS, parse_date
from dssm_lightning.features.raw_columns import entries_of
from dssm_lightning.features.raw_numbers import NUMBER_TEXT, NUMBER_WORDS, TIME_TEXT, text_or_number
from dssm_lightning.features.raw_values import DURATIONS, HALF, MOST_DIGITS, NUMBERS, TIMES, is_unicode, number_of
from dssm_lightning.utils.errors import UserError


def flatten_values(values: Sequence[Any], last: int | None = None) -> tuple[list[Any], NDArray[np.int64]]:
    """Flatten B lists, as ``flatten`` of ``raw_columns.py`` does: their entries (T,), and offsets (B + 1,).

    Raises:
        UserError: a value is no list, or an entry is not valid Unicode. The message has only the reason.

    Example:
        >>> flatten_values([["a", None, 7], None, ["b"]])
        (['a', 7, 'b'], array([0, 2, 2, 3]))
    """
    rows = [entries_of(value, None) for value in values]
    if not all(is_unicode(entry) for row in rows for entry in row if type(entry) is str):  # also before the last
        raise UserError(f"a text {HALF}")
    offsets = np.zeros(len(rows) + 1, np.int64)
    entries: list[Any] = []
    for number, row in enumerate(rows, 1):
        entries += row if last is None else row[-last:]
        offsets[number] = len(entries)
    return entries, offsets


def read_number_values(values: Sequence[Any], kind: str | None = None) -> list[float]:
    """Read B numbers, as ``read_numbers`` of ``raw_numbers.py`` does; NaN for a missing value.

    Args:
        values: (B,) raw values.
        kind: the only kind that is possible; None = any, but one.

    Raises:
        UserError: a value that is no number, an infinite number, or another kind. The message has only the reason.

    Example:
        >>> read_number_values([7, " 1.5 ", "true", None])
        [7.0, 1.5, 1.0, nan]
    """
    numbers = []
    allowed = {kind, NUMBERS} if kind == DURATIONS else {kind}
    for value in values:
        found, number = _kind_and_number(value)
        if found is not None:
            allowed = {found} if None in allowed else allowed
            if found not in allowed or math.isinf(number):
                raise UserError("an infinite number, or a number of another kind")
        numbers.append(number)
    return numbers


def _kind_and_number(value: Any) -> tuple[str | None, float]:
    """Return the kind of a value and its number; None and NaN if it is missing."""
    if type(value) is float:
        return (NUMBERS if value == value else None), value
    read = text_or_number(value)
    return read if isinstance(read, tuple) else _number_in("" if read is None else read.strip(BLANKS))


def _number_in(text: str) -> tuple[str | None, float]:
    number, clock = _patterns()
    if text == "":
        return None, math.nan
    if number.fullmatch(text) and len(text) < MOST_DIGITS:
        return NUMBERS, float(text)
    word = NUMBER_WORDS.get(text.lower())
    if word is not None:
        return (NUMBERS if word == word else None), word
    date = parse_date(text)
    if date is not None:
        return number_of(date)
    if clock.fullmatch(text):
        hours, minutes, seconds = f"{text}:0".split(":")[:3]
        return TIMES, float(hours) * 3600.0 + float(minutes) * 60.0 + float(seconds)
    raise UserError("a text is neither a number nor a date")


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a number and of a time of day."""
    return re.compile(NUMBER_TEXT), re.compile(TIME_TEXT)
