"""The kinds of the candidates' columns, which later candidates keep, so that filters go on comparing them."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from dssm_lightning.features.iso_dates import parse_date
from dssm_lightning.features.raw_values import plain, shown, text_of
from dssm_lightning.retrieval.stored_values import id_text
from dssm_lightning.utils.errors import UserError

KINDS = ("text", "number", "truth", "date", "datetime", "other")
"""The kinds: texts, numbers, truth values, dates, points in time, and values that no filter compares or of any type."""
TIMES = ("date", "datetime")
"""Kinds of columns that a filter reads as times."""


def of_kind(value: Any, kind: str, column: str) -> Any:
    """Return a raw value as a column of a kind holds it; None for a missing value.

    A number becomes a text in a column of texts, and an ISO 8601 text becomes a date in a column of dates.

    Args:
        value: as a caller gives it.
        kind: one of :data:`KINDS`.
        column: for messages.

    Raises:
        UserError: a value of another kind.

    Example:
        >>> of_kind(7, "text", "zip"), of_kind("2024-01-31T01:00:00+02:00", "datetime", "seen")
        ('7', datetime.datetime(2024, 1, 30, 23, 0))
    """
    value = plain(value)
    if value is None or kind == "other":
        return value
    if kind == "text":
        try:
            return text_of(value)
        except UserError as error:
            raise UserError(f"candidate column {column!r} holds texts, and {shown(value)} is none: {error}") from error
    if kind in TIMES:
        return _time(value, kind, column)
    is_truth = isinstance(value, bool)
    if kind == "truth" and is_truth:
        return value
    if kind == "number" and isinstance(value, int | float | np.floating | Decimal) and not is_truth:
        return value
    raise UserError(f"candidate column {column!r} holds {_NAMES[kind]}, and {shown(value)} is none")


def id_of_kind(value: Any, kind: str, column: str) -> Any:
    """Return the id of a candidate as the column of ids holds it: the text "7" is a number among numbers.

    Raises:
        UserError: a missing id, or one of another kind.

    Example:
        >>> id_of_kind("7", "number", "film"), id_of_kind(7, "text", "film")
        (7, '7')
    """
    text = id_text(value, column)
    if kind == "number" and isinstance(value, str) and text.isdecimal() and str(int(text)) == text:
        return int(text)
    return of_kind(value, kind, column)


def _time(value: Any, kind: str, column: str) -> datetime.date:
    found = parse_date(value) if isinstance(value, str) else value
    if isinstance(found, datetime.date) and not isinstance(found, datetime.datetime):
        found = datetime.datetime.combine(found, datetime.time())
    if not isinstance(found, datetime.datetime):
        raise UserError(
            f"candidate column {column!r} holds {_NAMES[kind]}, and {shown(value)} is none: write 2024-12-31, or "
            "2024-12-31T23:59:00"
        )
    if kind == "datetime":
        return found
    if found.time() != datetime.time():
        raise UserError(f"candidate column {column!r} holds dates, and {shown(value)} has a time of day")
    return found.date()


_NAMES = {"number": "numbers", "truth": "truth values", "date": "dates", "datetime": "points in time"}
