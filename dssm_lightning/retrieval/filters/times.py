"""Times of a filter, compared exactly with columns of any unit and any year."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import UserError

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)([T ](\d\d:\d\d(:\d\d)?)(\.\d{1,9})?)?", re.ASCII)
_PER_SECOND = {unit: 1000**power for power, unit in enumerate(("s", "ms", "us", "ns", "ps", "fs", "as"))}
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
"""The comparisons of a filter that need an order."""


def seconds_of(name: str, text: str) -> Fraction:
    """Return the seconds since 1970 of a time that stands in a filter.

    Raises:
        UserError: another form, or a time that does not exist.

    Example:
        >>> seconds_of("added", "1970-01-02 00:00:00.5")
        Fraction(172801, 2)
    """
    found = _TIME.fullmatch(text)
    if not found or (found[5] and not found[4]):
        raise UserError(f"filter: column {name!r} holds times; {text!r} is none: write 2024-12-31 or 2024-12-31 23:59")
    try:
        whole = np.datetime64(f"{found[1]}T{found[3] or '00:00'}", "s")
    except ValueError as error:
        raise UserError(f"filter: column {name!r} holds times, and {text!r} does not exist") from error
    return int(whole.astype(np.int64)) + Fraction(f"0{found[5]}" if found[5] else 0)


def compared(times: NDArray[Any], symbol: str, wanted: Sequence[Fraction]) -> NDArray[np.bool_]:
    """Return which times (T,) compare so with seconds since 1970; ``=``: with any of several.

    numpy would compare in the finer of two units, and overflow: 9999-12-31 is before 2024 in nanoseconds.

    Example:
        >>> times = np.array(["2024-01-01", "9999-12-31"], "datetime64[us]")
        >>> compared(times, "<", [seconds_of("added", "2300-01-01")])
        array([ True, False])
    """
    if not len(times) or not wanted:
        return np.zeros(len(times), bool)
    unit, step = np.datetime_data(times.dtype)
    if unit not in _PER_SECOND:  # years, months, weeks, days, hours, minutes
        times, unit, step = times.astype("datetime64[s]"), "s", 1
    per_second = Fraction(_PER_SECOND[unit], step)
    numbers, bounds = times.view(np.int64), [seconds * per_second for seconds in wanted]
    if symbol == "=":
        whole = [int(bound) for bound in bounds if bound.denominator == 1 and abs(bound) < 1 << 63]
        return np.isin(numbers, np.array(whole, np.int64))
    bound = ceil(bounds[0]) if symbol in ("<", ">=") else floor(bounds[0])
    return np.asarray(ORDERS[symbol](numbers, bound), bool)
