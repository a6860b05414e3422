"""What one raw value means, whatever stands beside it: as a category or an id, and as a number.

The rule for categories and ids, the same when a feature is fitted and when a query is served:

========================== ==================================== ============================
value                      text                                 example
========================== ==================================== ============================
text, Categorical, Enum    as written                           ``"007"`` -> ``007``
whole number of any width  decimal digits                       ``7``, ``7.0`` -> ``7``
other float                the shortest text, as Python's repr  ``0.5`` -> ``0.5``
Decimal                    by value                             ``7.50`` -> ``7.5``
truth value                ``true`` or ``false``                ``True`` -> ``true``
date, datetime             ISO 8601, in UTC, in microseconds    ``2024-01-31T10:20:30``
time of day                ISO 8601                             ``10:20:30``
null, NaN, NaT             no value
========================== ==================================== ============================

A datetime at midnight is its date, and a datetime without a time zone is in UTC. Everything else is refused: bytes,
lists, structs, durations, infinity, and whole floats above 2^53, which stand for several integers.
"""

from __future__ import annotations

import datetime
import math
import reprlib
import sys
import uuid
from decimal import Decimal
from typing import Any

import numpy as np

from dssm_lightning.utils.errors import UserError

LARGEST_EXACT = 2.0**53
"""Larger whole floats stand for several integers."""
MOST_DIGITS = 400
"""A number with more digits is refused: no float64 is as large."""

NUMBERS, DATES, TIMES, DURATIONS = "numbers", "dates", "times of day", "durations"
"""The kinds of values that numeric features read."""

_EPOCH = datetime.datetime(1970, 1, 1)
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 60, 60, 40
_AS_THEY_ARE = frozenset((str, bool, int, bytes, type(None)))
HALF = "holds half of a surrogate pair, which is no character; give valid Unicode"


def shown(value: Any) -> str:
    """Return a value for an error message: its repr, shortened to one line; nesting of any depth is possible.

    Example:
        >>> shown(["red", ["shoes", ["boots"]]])
        "['red', ['shoes', [...]]]"
    """
    try:
        return " ".join(_SHORT.repr(value).splitlines())
    except ValueError:  # an integer with more digits than Python converts
        return f"a value of type {type(value).__name__}"


def plain(value: Any) -> Any:
    """Return a value of NumPy, pandas or Polars as the value of Python that it stands for; NaN and NaT as None.

    A datetime with a time zone becomes one in UTC.

    Example:
        >>> plain(np.int16(7)), plain(np.array([1, 2])), plain(float("nan"))
        (7, [1, 2], None)
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, np.ndarray):
        return value.tolist()
    if _is_series(value):
        return value.to_list()
    if isinstance(value, np.datetime64 | np.timedelta64):
        unit = "D" if value.dtype == np.dtype("datetime64[D]") else "us"
        return value.astype(f"{value.dtype.kind}8[{unit}]").item()
    if isinstance(value, np.generic) and not isinstance(value, np.float16 | np.float32 | np.longdouble):
        value = value.item()
    if isinstance(value, float | np.floating | datetime.datetime) and value != value:  # NaN, and NaT of pandas
        return None
    if type(value).__name__ == "NAType":  # of pandas, which need not be installed
        return None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return _in_utc(value)
    return list(value) if isinstance(value, tuple) else value


def _is_series(value: Any) -> bool:
    polars = sys.modules.get("polars")  # nobody has a series without Polars
    return polars is not None and isinstance(value, getattr(polars, "Series", ()))


def _in_utc(value: datetime.datetime) -> datetime.datetime:
    try:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    except OverflowError as error:
        raise UserError(f"{value} is outside the years 1 to 9999 in UTC") from error


def text_of(value: Any) -> str | None:
    """Return the text of a category or an id, by the rule of this module; None for a missing value.

    Raises:
        UserError: a value that cannot be a category. The message has only the reason.

    Example:
        >>> [text_of(value) for value in ("007", 7, 7.0, 0.5, Decimal("7.50"), True, datetime.date(2024, 1, 31))]
        ['007', '7', '7', '0.5', '7.5', 'true', '2024-01-31']
    """
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, str):
        return _characters(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, float | np.floating):
        return _float_text(value)
    if isinstance(value, Decimal):
        return _decimal_text(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat().removesuffix("T00:00:00")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise UserError(f"a value of type {type(value).__name__} cannot be a category or an id")


def is_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _characters(value: str) -> str:
    text = str.__str__(value)
    if not is_unicode(text):
        raise UserError(f"the text {HALF}")
    return text


def _digits(value: int) -> str:
    if value.bit_length() > MOST_DIGITS * math.log2(10):
        raise UserError(f"a number has at most {MOST_DIGITS} digits")
    return str(int(value))


def _float_text(value: float | np.floating[Any]) -> str:
    if math.isinf(value):
        raise UserError("an infinite number cannot be a category or an id")
    if value == int(value):
        if abs(value) > LARGEST_EXACT:
            raise UserError("whole floats above 2^53 stand for several integers; give integers, or text")
        return str(int(value))
    return str(value) if isinstance(value, np.floating) else repr(value)  # a float32 has fewer digits


def _decimal_text(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if value.is_infinite() or abs(value.adjusted()) > MOST_DIGITS:
        raise UserError(f"a number is finite and has at most {MOST_DIGITS} digits")
    if value == value.to_integral_value():
        return str(int(value))
    text = repr(float(value))  # as the float of the same value
    return text if Decimal(text) == value else f"{value:f}".rstrip("0")


def number_of(value: Any) -> tuple[str, float]:
    """Return the kind and the number of a plain value that is no text: dates, times and durations in seconds.

    Raises:
        UserError: a value that is no number. The message has only the reason.

    Example:
        >>> number_of(True), number_of(datetime.date(1970, 1, 2)), number_of(datetime.timedelta(minutes=1))
        (('numbers', 1.0), ('dates', 86400.0), ('durations', 60.0))
    """
    if isinstance(value, int | float | np.floating | Decimal):
        try:
            return NUMBERS, float(value)
        except (OverflowError, ValueError) as error:  # ValueError: a signalling NaN
            raise UserError("the number is infinite in float64") from error
    if isinstance(value, datetime.datetime):
        return DATES, (value - _EPOCH) / datetime.timedelta(microseconds=1) / 1e6
    if isinstance(value, datetime.date):
        return DATES, (value - _EPOCH.date()).days * 86400.0
    if isinstance(value, datetime.time):
        since = datetime.datetime.combine(_EPOCH, value.replace(tzinfo=None)) - _EPOCH
        return TIMES, since / datetime.timedelta(microseconds=1) / 1e6
    if isinstance(value, datetime.timedelta):
        return DURATIONS, value / datetime.timedelta(microseconds=1) / 1e6
    raise UserError(f"a value of type {type(value).__name__} is no number")
