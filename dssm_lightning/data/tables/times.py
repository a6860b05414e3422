"""Times as seconds, and the unit in which numbers of them are given."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, cast

import polars as pl

from dssm_lightning.utils.logger import log_info, warn
from dssm_lightning.utils.memory_mapped import numbers

if TYPE_CHECKING:
    from torch import Tensor

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units of times since 1970, and how many of them a second has."""
EARLIEST, LATEST = 100_000_000, 4_102_444_800
"""1973-03-03 and 2100-01-01 in seconds since 1970. In these years no number belongs to two units."""


def unit_of(number: float) -> str | None:
    """Return the unit in which a number is a time between 1973 and 2100; None if there is none.

    Example:
        >>> [unit_of(number) for number in (881250949, 1_700_000_000_000, 2004)]
        ['seconds', 'milliseconds', None]
    """
    return next((unit for unit, factor in UNITS.items() if EARLIEST * factor <= number <= LATEST * factor), None)


def seconds(column: pl.Series) -> Tensor:
    """Return times (R,) without nulls as float64: seconds since 1970 if their unit is known, else unchanged.

    The unit of numbers is known by their size. It is logged, and so are numbers of two units, which cannot be compared.

    Example:
        >>> seconds(pl.Series("t", [1_700_000_000_000, 1_700_000_000_500])).tolist()
        [1700000000.0, 1700000000.5]
        >>> seconds(pl.Series("year", [1999, 2004])).tolist()
        [1999.0, 2004.0]
    """
    if column.dtype.is_temporal():
        return numbers(column.dt.epoch("us") / 1e6, pl.Float64)
    first, last = (float(cast("float", number or 0)) for number in (column.min(), column.max()))
    units = unit_of(first), unit_of(last)
    if units[0] is None or units[1] is None:
        return numbers(column, pl.Float64)
    if units[0] != units[1]:
        warn(
            f"time column {column.name!r} seems to mix {units[0]} ({first:.0f}) and {units[1]} ({last:.0f}), so that "
            "the order of events is wrong: convert it to one unit"
        )
        return numbers(column, pl.Float64)
    factor = UNITS[units[0]]
    days = [datetime.fromtimestamp(number / factor, timezone.utc).date() for number in (first, last)]
    log_info(f"time column {column.name!r} holds {units[0]} since 1970: {days[0]} to {days[1]}")
    return numbers(column if factor == 1 else column.cast(pl.Float64) / factor, pl.Float64)
