"""Dates and datetimes of ISO 8601: from text, one by one and as whole columns, and as text."""

from __future__ import annotations

import datetime
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""The white space of Unicode, which Polars strips; Python's ``str.strip`` also strips control characters."""
_TIME = r"(?<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9])(?::(?<second>[0-5][0-9])(?:[.,](?<fraction>[0-9]{1,9}))?)?"
_ZONE = r"(?: ?(?<zone>[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?))?"
_DATE = rf"^(?<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})(?:[Tt ]{_TIME}{_ZONE})?$"


def parse_dates(texts: pl.Series) -> pl.Series:
    """Parse texts (B,) as datetimes in UTC, in microseconds; null for a text that is no date of ISO 8601.

    A date is its midnight, and a datetime without an offset is in UTC.

    Example:
        >>> import polars as pl
        >>> dates = parse_dates(pl.Series(["2024-01-31", "2024-01-31T10:20:30+01:00", "31/01/2024"]))
        >>> dates.dt.to_string("%F %T").to_list()
        ['2024-01-31 00:00:00', '2024-01-31 09:20:30', None]
    """
    import polars as pl

    parts = texts.str.strip_chars().str.extract_groups(_DATE).struct.unnest()
    clock, second = pl.col("clock").fill_null("00:00"), pl.col("second").fill_null("00")
    text = pl.format("{} {}:{}", pl.col("day"), clock, second)
    seconds = text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    fraction = pl.col("fraction").fill_null("0").str.pad_end(6, "0").str.head(6).cast(pl.Int64)
    zone = pl.col("zone").str.replace(":", "", literal=True).fill_null("Z")
    minutes = zone.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0) * 60
    minutes = minutes + zone.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    offset = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes)
    in_utc = seconds + pl.duration(microseconds=fraction) - pl.duration(minutes=offset)
    possible = in_utc.dt.year().is_between(1, 9999)  # the years of Python's datetime
    return parts.select(pl.when(possible).then(in_utc).alias(texts.name)).to_series()


def parse_date(text: str) -> datetime.datetime | None:
    """Parse one text, as :func:`parse_dates` does.

    Example:
        >>> parse_date("2024-01-31T10:20:30+01:00"), parse_date("31/01/2024")
        (datetime.datetime(2024, 1, 31, 9, 20, 30), None)
    """
    text = text.strip(BLANKS)
    if text.startswith("0000-12-31"):  # with an offset, it may be in the year 1; Python has no year 0
        import polars as pl

        found: datetime.datetime | None = parse_dates(pl.Series([text]))[0]
        return found
    match = _pattern().fullmatch(text)
    if match is None:
        return None
    day, clock, second, fraction, zone = match.groups()
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    try:
        year, month, number = map(int, day.split("-"))
        hour, minute = map(int, (clock or "00:00").split(":"))
        moment = datetime.datetime(year, month, number, hour, minute, int(second or 0), microsecond)
        return moment - datetime.timedelta(minutes=_offset(zone or "Z"))
    except (ValueError, OverflowError):  # no such day; a year outside 1 to 9999
        return None


def _offset(zone: str) -> int:
    """Return the minutes of a time zone, such as 60 for ``+01:00``."""
    digits = zone[1:].replace(":", "")
    minutes = int(digits[:2] or 0) * 60 + int(digits[2:] or 0)
    return -minutes if zone[0] == "-" else minutes


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_DATE.replace("?<", "?P<"))


def date_texts(dates: pl.Series) -> pl.Series:
    """Return dates, datetimes or times of day (B,) as texts of ISO 8601.

    Datetimes are in UTC, and a date at midnight. Microseconds are written if they are not 0.

    Example:
        >>> import polars as pl
        >>> date_texts(parse_dates(pl.Series(["2024-01-31 00:00", "2024-01-31 10:20:30.5"]))).to_list()
        ['2024-01-31', '2024-01-31T10:20:30.500000']
    """
    import polars as pl

    found: pl.Series
    if dates.dtype == pl.Date:
        found = dates.cast(pl.String)
        return found
    if dates.dtype == pl.Time:
        return _exact(dates.dt.strftime("%H:%M:%S"), dates.dt.microsecond())
    if getattr(dates.dtype, "time_zone", None) is not None:
        dates = dates.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    dates = dates.dt.cast_time_unit("us")
    texts = _exact(dates.dt.strftime("%Y-%m-%dT%H:%M:%S"), dates.dt.microsecond())
    found = texts.str.strip_suffix("T00:00:00")
    return found


def _exact(texts: pl.Series, microseconds: pl.Series) -> pl.Series:
    """Append the microseconds to the texts (B,) where they are not 0."""
    import polars as pl

    if not (microseconds != 0).any():
        return texts
    fractions = "." + microseconds.cast(pl.String).str.zfill(6)
    found: pl.Series = (texts + fractions).zip_with(microseconds != 0, texts)
    return found
