"""Columns of text files, which are text as written, as numbers, times or another declared type."""

from __future__ import annotations

import polars as pl

from dssm_lightning.features.iso_dates import parse_dates
from dssm_lightning.utils.errors import UserError, require_choice

VALUE_TYPES = ("text", "number", "integer", "boolean", "date", "list", "vector", "base64")
"""The types that ``dtypes`` of :class:`Files` can give to a column."""
_WHOLE = r"^[+-]?[0-9]+$"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^(?i:nan|[+-]?inf)$"
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def as_numbers(column: pl.Series, about: str, remedy: str = "") -> pl.Series:
    """Return text as numbers: Int64 if all are written as integers, else Float64. Other columns stay.

    Blanks around a number are ignored; an empty text is null; ``true`` is 1 and ``false`` is 0.

    Args:
        column: the values.
        about: what the message calls the column.
        remedy: what the message ends with.

    Raises:
        UserError: a text that is no number. The message has the number of such values, the first one and its row.

    Example:
        >>> as_numbers(pl.Series(["4", " 5", ""]), "weight").to_list(), as_numbers(pl.Series(["4.5", "1e3"]), "w")[1]
        ([4, 5, None], 1000.0)
    """
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return column
    texts = _stripped(column)
    words = texts.str.to_lowercase()
    texts = texts.set((words == "true").fill_null(False), "1").set((words == "false").fill_null(False), "0")
    wrong = ~texts.str.contains(_NUMBER).fill_null(True)
    _refuse(column, wrong, about, "are no numbers", remedy)
    if texts.str.contains(_WHOLE).fill_null(True).all():
        whole = _cast(texts, pl.Int64)
        if whole.null_count() == texts.null_count():
            return whole
    return _cast(texts, pl.Float64)


def as_times(column: pl.Series, about: str, time_format: str | None = None) -> pl.Series:
    """Return text as numbers, or as datetimes in UTC. Other columns stay.

    Args:
        column: the values.
        about: what the message calls the column.
        time_format: how times are written, by the codes of ``strftime``; None = numbers, or ISO 8601.

    Raises:
        UserError: a text that is no such time; a format for a column that is no text.
    """
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        if time_format is not None:
            raise UserError(f"{about} is {column.dtype}, no text: leave out `time_format`")
        return column
    texts = _stripped(column)
    if time_format is not None:
        try:
            found: pl.Series = texts.str.to_datetime(time_format, strict=False, time_unit="us", time_zone="UTC")
        except pl.exceptions.PolarsError as error:
            raise UserError(f"time_format is {time_format!r}: {str(error).partition(chr(10))[0]}") from error
        wrong = found.is_null() & texts.is_not_null()
        _refuse(column, wrong, about, f"are not written as time_format {time_format!r} says")
        return found
    if texts.str.contains(_NUMBER).fill_null(True).all():
        return as_numbers(column, about)
    found = parse_dates(texts)
    wrong = found.is_null() & texts.is_not_null()
    _refuse(
        column,
        wrong,
        about,
        "are neither numbers nor ISO 8601 times",
        '; say how they are written, such as `time_format: "%m/%d/%Y"` or `time_format: "%d.%m.%Y %H:%M"`',
    )
    in_utc: pl.Series = found.dt.replace_time_zone("UTC")
    return in_utc


def typed(column: pl.Series, kind: str, about: str) -> pl.Series:
    """Return a column as the declared type.

    Raises:
        UserError: an unknown type; a value that is not of this type.
    """
    require_choice(about, "dtypes", kind, VALUE_TYPES)
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise UserError(f"{about}: dtypes is {kind!r}, but the column holds {column.dtype}; leave it out of dtypes")
    if kind == "text":
        return _cast(column, pl.String)
    if kind in ("list", "vector", "base64"):
        return _unpacked(column, kind, about)
    if kind == "date":
        return as_times(column, about)
    if kind == "boolean":
        texts = _stripped(column.cast(pl.String)).str.to_lowercase()
        truth: pl.Series = texts.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
        _refuse(column, truth.is_null() & texts.is_not_null(), about, "are neither true nor false")
        return truth
    if kind == "integer" and column.dtype == pl.String:
        column = column.str.strip_chars().str.replace(r"^([+-]?[0-9]+)\.0+$", "$1")
    numbers = as_numbers(column, about)
    numbers = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    if not (numbers.dtype.is_numeric() or numbers.dtype == pl.Boolean):
        raise UserError(f"{about}: dtypes is {kind!r}, but the column holds {column.dtype}")
    if kind == "number":
        return _cast(numbers, pl.Float64)
    whole = _cast(numbers, pl.Int64)
    inexact = numbers.dtype.is_float() or numbers.dtype.is_decimal()
    same = whole.cast(pl.Float64) == numbers.cast(pl.Float64) if inexact else whole.is_not_null()
    _refuse(column, numbers.is_not_null() & ~same.fill_null(False), about, "are no integers of 64 bits")
    return whole


def _unpacked(column: pl.Series, kind: str, about: str) -> pl.Series:
    """Return texts such as ``['a', 'b']`` as lists, ``[0.5, 1]`` as vectors, or base64 as bytes."""
    texts = _stripped(column)
    found: pl.Series
    if kind == "base64":
        found = texts.str.replace(r"^data:[^,]*,", "").str.decode("base64", strict=False)
        _refuse(column, found.is_null() & texts.is_not_null(), about, "are not base64")
        return found
    inner = texts.str.strip_chars("[](){} ")
    if kind == "list":
        parts = inner.str.split(",").list.eval(pl.element().str.strip_chars(" '\""))
        found = parts.list.eval(pl.element().filter(pl.element() != ""))
        return found
    found = inner.str.replace_all(r"[,;\s]+", " ").str.split(" ").cast(pl.List(pl.Float64), strict=False)
    wrong = found.list.eval(pl.element().is_null()).list.any().fill_null(False)
    _refuse(column, wrong, about, "are no vectors of numbers")
    found = found.cast(pl.List(pl.Float32))
    return found


def _stripped(column: pl.Series) -> pl.Series:
    texts: pl.Series = column.cast(pl.String).str.strip_chars()
    return texts.set((texts == "").fill_null(False), None)


def _cast(column: pl.Series, dtype: type[pl.DataType]) -> pl.Series:
    """Return values of another type; null for a value that cannot be one."""
    found: pl.Series = column.cast(dtype, strict=False)
    return found


def _refuse(column: pl.Series, wrong: pl.Series, about: str, what: str, remedy: str = "") -> None:
    count = int(wrong.sum())
    if count:
        row = wrong.arg_max() or 0
        raise UserError(
            f"{about}: {count:,} of {len(column):,} values {what}, first {column[row]!r} in row {row} (counted from 0)"
            f"{remedy}"
        )
