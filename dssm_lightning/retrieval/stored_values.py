"""Values of candidates as JSON holds them, from which they are shown, filtered and found by their id."""

from __future__ import annotations

import datetime
import json
import math
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from dssm_lightning.features.raw_values import plain, shown, text_of
from dssm_lightning.utils.errors import UserError

LARGEST = sys.float_info.max


def id_text(value: Any, column: str) -> str:
    """Return the text of a candidate's id.

    Raises:
        UserError: a missing value, or one that cannot be an id.
    """
    try:
        text = text_of(value)
    except UserError as error:
        raise UserError(f"the candidate's id {column!r} is {shown(value)}: {error}") from error
    if text is None:
        raise UserError(f"the candidate's id {column!r} is missing")
    return text


def stored_id(value: Any, text: str) -> Any:
    """Return the id as JSON holds it, by which it is found again: 7 stays a number."""
    stored = _json(value)
    return stored if stored is not None and text_of(stored) == text else text


def json_line(columns: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return the values of a candidate, the id first, as a line of JSON.

    Raises:
        UserError: a value that JSON cannot hold; the message has its column.

    Example:
        >>> json_line(["id", "seen"], [7, datetime.date(2024, 1, 31)])
        b'[7, "2024-01-31"]\\n'
    """
    try:
        return json.dumps([_json(value) for value in values], ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # also UnicodeEncodeError
        wrong = [name for name, value in zip(columns, values, strict=True) if not _is_json(value)]
        raise UserError(
            f"column {', '.join(wrong)} of candidate {shown(values[0])} cannot be stored: {error}"
        ) from error


def _is_json(value: Any) -> bool:
    try:
        json.dumps(_json(value), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _json(value: Any) -> Any:
    """Return a raw value as JSON holds it: dates and times as ISO 8601, durations in seconds, NaN as null.

    A decimal number becomes a float, and an infinite one the greatest float, so that filters compare both.
    """
    value = plain(value)
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float | np.floating | Decimal):
        return None if math.isnan(value) else max(-LARGEST, min(LARGEST, float(value)))
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_json(each) for each in value]
    return text_of(value)
