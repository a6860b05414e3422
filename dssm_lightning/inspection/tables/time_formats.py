"""Columns of times: numbers since 1970, ISO 8601, and other ways to write a date."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from itertools import product

import polars as pl

from dssm_lightning.data.tables.times import UNITS, unit_of
from dssm_lightning.features.iso_dates import parse_dates
from dssm_lightning.inspection.tables import words

_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%Y-%m-%d", "%d-%b-%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d/%b/%Y", "%m %d, %Y", "%m/%d/%y", "%d/%m/%y"),
    *("%d.%m.%y", "%d-%b-%y"),
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S UTC", "T%H:%M:%S", " %H:%M:%S%.f")
_WHOLE = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S +0000 %Y", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z")
FORMATS = (*(day + clock for day, clock in product(_DAYS, _CLOCKS)), *_WHOLE)
"""Ways to write a time that are tried, by the codes of ``strftime``."""
_TRIED = 200
_SWAPPED = {"%m/%d": "%d/%m", "%m-%d": "%d-%m", "%d-%m": "%m-%d"}
EARLIEST = 788_918_400
"""1995 in seconds since 1970: numbers before it are no events of a column that no name calls a time."""


@dataclass(frozen=True)
class Times:
    """Times of a column.

    Example:
        >>> found = times_of(pl.Series("day", ["31.01.2024", "01.02.2024"]))
        >>> found.time_format, found.seconds.to_list()
        ('%d.%m.%Y', [1706659200.0, 1706745600.0])
    """

    seconds: pl.Series
    """Seconds since 1970, (n,) Float64."""
    time_format: str | None = None
    note: str = ""


def times_of(texts: pl.Series) -> Times | None:
    """Return the times of texts; None if some text is no time, or the texts are numbers.

    Args:
        texts: (n,) texts without blanks around them; null = a missing value.
    """
    filled = texts.drop_nulls()
    few = filled.unique(maintain_order=True).head(_TRIED)
    if (
        not len(few)
        or not few.str.contains(r"\d").all()
        or int(few.str.len_chars().cast(pl.Int64).sum()) > 40 * len(few)
    ):
        return None
    if few.str.contains(r"^[+-]?[\d.,]+([eE][+-]?\d+)?$").all() and not few.str.contains(r"^\d+[.]\d+[.]\d+$").all():
        return None
    if parse_dates(few).null_count() == 0:
        found = parse_dates(texts)
        return Times(_seconds(found)) if found.null_count() == texts.null_count() else None
    fitting = [each for each in FORMATS if _fits(few, each)]
    fitting = [each for each in fitting if _parsed(texts, each).null_count() == texts.null_count()]
    if not fitting:
        return None
    best = fitting[0]
    day = next((each for each in _SWAPPED if best.startswith(each)), None)
    other = None if day is None else best.replace(day, _SWAPPED[day])
    note = f"{best} or {other}: no day above 12 tells them apart" if other in fitting else ""
    return Times(_seconds(_parsed(texts, best)), best, note)


def _fits(few: pl.Series, time_format: str) -> bool:
    signs = re.sub(r"%[a-zA-Z]|%\.f", "", time_format).replace("UTC", "").strip()
    first = few[0]
    if any(sign not in first for sign in signs) or ("%p" in time_format) != bool(re.search(r"[AaPp][Mm]\b", first)):
        return False
    if "%y" in time_format and re.search(r"\d{4}", first.split()[0]):
        return False
    return _parsed(few, time_format).null_count() == 0


def _parsed(texts: pl.Series, time_format: str) -> pl.Series:
    found: pl.Series
    try:
        found = texts.str.to_datetime(time_format, strict=False, time_unit="us", time_zone="UTC")
    except pl.exceptions.PolarsError:
        found = pl.Series(texts.name, [None] * len(texts), dtype=pl.Datetime("us", "UTC"))
    return found


def _seconds(times: pl.Series) -> pl.Series:
    return times.dt.epoch("us") / 1e6


def temporal(column: pl.Series) -> Times | None:
    """Return the times of a column of dates or datetimes; None for another type."""
    if not isinstance(column.dtype, pl.Date | pl.Datetime):
        return None
    return Times(_seconds(column.cast(pl.Datetime("us"))))


def times_of_numbers(numbers: pl.Series, name: str, written: bool) -> Times | None:
    """Return the times of numbers: seconds, milliseconds … since 1970, or days such as 20240131.

    A name that says time is believed for years from 1973 on. Without one, the times must lie between 1995 and next
    year, and the name must not say id.

    Args:
        numbers: (n,) numbers.
        name: the column's name.
        written: whether the numbers are written as text, so that a format can be named.

    Example:
        >>> times_of_numbers(pl.Series([978300760, 978302109]), "column_4", True).seconds.to_list()
        [978300760.0, 978302109.0]
        >>> times_of_numbers(pl.Series([978300760, 978302109]), "product_id", True) is None
        True
    """
    filled = numbers.drop_nulls().cast(pl.Float64)
    if not len(filled) or (not words.weight_of(name, words.TIME) and words.is_key(name)):
        return None
    least, greatest = (float(str(limit)) for limit in (filled.min(), filled.max()))
    named = words.weight_of(name, words.TIME) > 0
    unit = unit_of(least)
    if unit is not None and unit == unit_of(greatest) and not (unit == "seconds" and _are_days(filled, named)):
        seconds = numbers.cast(pl.Float64) / UNITS[unit]
        next_year = datetime.datetime.now(datetime.timezone.utc).timestamp() + 366 * 86400
        plausible = least / UNITS[unit] >= EARLIEST and greatest / UNITS[unit] <= next_year
        return Times(seconds) if named or plausible else None
    if written and _are_days(filled, named):
        return Times(_seconds(_parsed(numbers.cast(pl.Int64).cast(pl.String), "%Y%m%d")), "%Y%m%d")
    return None


def _are_days(filled: pl.Series, named: bool) -> bool:
    """Return whether numbers such as 20240131 are days."""
    if not named or not filled.is_between(19_000_101, 21_001_231).all():
        return False
    return _parsed(filled.unique().head(_TRIED).cast(pl.Int64).cast(pl.String), "%Y%m%d").null_count() == 0
