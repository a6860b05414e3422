"""Convert raw columns of any type to strings or flat lists, by the rule of ``raw_values.py``."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.iso_dates import date_texts, parse_date, parse_dates
from dssm_lightning.features.raw_values import LARGEST_EXACT, plain, shown, text_of
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl

DateTexts: TypeAlias = Literal["iso", "polars"] | None
"""How a fitted column of dates becomes text; see ``Categories.dates``."""

ENTRY = "entry of a list"
"""Name of a column of flattened values."""
_NEEDS = "a category is a text, a number, a truth value or a date"
_NO_DATE = "the feature was fitted on dates; give a date of ISO 8601, such as 2024-01-31 or 2024-01-31T10:20:30"


def as_strings(feature: Feature, column: pl.Series, dates: DateTexts = None) -> pl.Series:
    """Convert categories or ids (B,) of any type to strings, each value by itself (``raw_values.py``).

    Args:
        feature: the feature that an error names.
        column: (B,) raw values.
        dates: "iso": the feature was fitted on dates, so that texts are parsed as dates of ISO 8601. "polars": dates
            become the texts of releases up to 0.1.0. None: texts stay as written.

    Raises:
        UserError: a value that cannot be a category, such as a list, bytes or an infinite number; with
            ``dates="iso"``, a value that is no date.
    """
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Object:
        texts = by_value(feature, column, lambda value: category_text(value, dates))
        return pl.Series(column.name, texts, dtype=pl.String)
    is_date = dtype in (pl.Date, pl.Datetime)
    if (is_date and dates != "polars") or (dtype == pl.Time and dates is None):
        return date_texts(column)
    if dates == "iso" and dtype != pl.Null:
        return _strings_of_dates(feature, column)
    if dtype.is_float():
        return _strings_of_floats(feature, column.fill_nan(None))
    if dtype.is_decimal():
        return _mapped(column, text_of)
    if dtype.is_nested() or dtype in (pl.Binary, pl.Duration):
        hint = "; for a column of lists, use CategoricalList" if isinstance(dtype, pl.List | pl.Array) else ""
        hint = "; for numbers, use Numeric or Bucketized" if dtype == pl.Duration else hint
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} is of type {dtype}, whose values cannot be "
            f"categories: {_NEEDS}{hint}"
        )
    strings: pl.Series = column.cast(pl.String)
    return strings


def _strings_of_floats(feature: Feature, floats: pl.Series) -> pl.Series:
    import polars as pl

    wrong = (floats.is_infinite() | ((floats.abs() > LARGEST_EXACT) & (floats == floats.floor()))).fill_null(False)
    if wrong.any():
        row = wrong.arg_max() or 0
        by_value(feature, floats[row : row + 1], text_of, row)  # raises: the rule refuses it
    strings: pl.Series = floats.cast(pl.Int64, strict=False).cast(pl.String)
    fraction = (floats != floats.floor()).fill_null(False)
    if not fraction.any():
        return strings
    return strings.scatter(fraction.arg_true(), _mapped(floats.filter(fraction), text_of))


def _strings_of_dates(feature: Feature, column: pl.Series) -> pl.Series:
    """Return the texts of dates that are given as text."""
    import polars as pl

    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        column = pl.Series(column.name, by_value(feature, column, lambda value: category_text(value, "iso")), pl.String)
    found = parse_dates(column.cast(pl.String))
    wrong = found.is_null() & column.is_not_null()
    if wrong.any():
        row = wrong.arg_max() or 0
        raise UserError(f"{at(feature, column, column[row], row)}: {_NO_DATE}")
    return date_texts(found)


def category_text(value: Any, dates: DateTexts) -> str | None:
    """Return the text of one category or id, as :func:`as_strings` does; None for a missing value.

    Raises:
        UserError: a value that cannot be a category. The message has only the reason.
    """
    if dates is None:
        return text_of(value)
    value = plain(value)
    if isinstance(value, datetime.date) and dates == "polars":
        import polars as pl

        text: str = raw_column([value]).cast(pl.String)[0]
        return text
    if dates == "iso" and value is not None and not isinstance(value, datetime.date):
        value = parse_date(text_of(value) or "") if isinstance(value, str) else None
        if value is None:
            raise UserError(_NO_DATE)
    return text_of(value)


def _mapped(column: pl.Series, function: Callable[[Any], str | None]) -> pl.Series:
    """Apply a function to each distinct value of a column (B,)."""
    import polars as pl

    values = column.alias("value")
    distinct = values.unique()
    items = distinct.to_numpy() if distinct.dtype.is_float() else distinct.to_list()  # NumPy knows the width of a float
    texts = pl.Series("text", [function(value) for value in items], dtype=pl.String)
    known = pl.DataFrame([distinct, texts])
    joined = values.to_frame().join(known, on="value", how="left", nulls_equal=True, maintain_order="left")
    return joined["text"]


def by_value(feature: Feature, column: pl.Series, function: Callable[[Any], Any], first_row: int = 0) -> list[Any]:
    """Apply a function to each value of a column (B,).

    Raises:
        UserError: the function refuses a value; the message names the feature, the column, the value and its row.
    """
    found = []
    values = column.to_numpy() if column.dtype.is_float() else column.to_list()
    for row, value in enumerate(values, first_row):
        try:
            found.append(function(value))
        except UserError as error:
            raise UserError(f"{at(feature, column, value, row)}: {error}") from error
    return found


def at(feature: Feature, column: pl.Series, value: Any, row: int) -> str:
    """Return the beginning of an error message about one value."""
    place = f"entry {row} of its lists" if column.name == ENTRY else f"row {row}"
    return f"{feature._label}: column {feature.source_column!r} holds {shown(value)} in {place} (counted from 0)"


def flatten(feature: Feature, column: pl.Series, last: int | None = None) -> tuple[pl.Series, NDArray[np.int64]]:
    """Flatten a column of B lists to its values (T,) without nulls and NaN, and int64 offsets (B + 1,).

    A null row becomes an empty row. The name of the values is :data:`ENTRY`, by which errors name their place.

    Args:
        feature: the feature that an error names.
        column: (B,) lists or arrays.
        last: keep only the last ``last`` values of each list; None keeps all.

    Raises:
        UserError: the column does not hold lists.
    """
    import polars as pl

    if column.dtype == pl.Object:
        return _flatten_objects(feature, column, last)
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.String))
    if not isinstance(column.dtype, pl.List):
        raise UserError(f"{feature._label}: column {feature.source_column!r} holds {column.dtype}; it must hold lists")
    if column.dtype.inner.is_float():
        column = column.list.eval(pl.element().fill_nan(None))
    column = column.list.drop_nulls()
    if last is not None:
        column = column.list.tail(last)
    lengths = column.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    return column.filter(lengths > 0).explode().alias(ENTRY), _offsets(lengths)


def _flatten_objects(feature: Feature, column: pl.Series, last: int | None) -> tuple[pl.Series, NDArray[np.int64]]:
    rows = by_value(feature, column, lambda value: entries_of(value, last))
    values = raw_column([entry for row in rows for entry in row], feature.source_column)
    return values.alias(ENTRY), _offsets(np.array([len(row) for row in rows], dtype=np.int64))


def entries_of(value: Any, last: int | None) -> list[Any]:
    """Return the entries of one list as values of Python, without nulls and NaN; those of a missing value are none.

    Raises:
        UserError: the value is no list. The message has only the reason.
    """
    value = plain(value)
    if value is not None and not isinstance(value, list):
        raise UserError(f"it must hold lists, not a value of type {type(value).__name__}")
    present = [entry for entry in map(plain, value or ()) if entry is not None]
    return present if last is None else present[-last:]


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
