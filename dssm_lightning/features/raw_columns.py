"""Convert raw columns of any type to strings, lists or floats."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.errors import UserError

Floats: TypeAlias = NDArray[np.float64]

_LARGEST_EXACT = 2.0**53  # larger whole numbers have no exact float


def as_strings(feature: Feature, column: pl.Series) -> pl.Series:
    """Convert categories (B,) of any plain type to strings; whole floats become integers, NaN becomes null.

    Raises:
        UserError: fractional numbers, or values of a nested or binary type.
    """
    dtype = column.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} is of type {dtype}, whose values cannot be "
            "categories; for a column of lists, use CategoricalList"
        )
    if dtype.is_float() or dtype.is_decimal():
        floats = column.cast(pl.Float64).fill_nan(None)
        odd = floats.filter((floats != floats.round()) | (floats.abs() > _LARGEST_EXACT))
        if len(odd):
            raise UserError(
                f"{feature._label}: {len(odd):,} of {len(column):,} values are not whole numbers, first "
                f"{odd.head(3).to_list()}; for numbers, use Numeric or Bucketized"
            )
        column = floats.cast(pl.Int64)
    strings: pl.Series = column.cast(pl.String)
    return strings


def flatten(feature: Feature, column: pl.Series, last: int | None = None) -> tuple[pl.Series, Tensor]:
    """Flatten a column of B lists to its values (T,) without nulls, and int64 offsets (B + 1,).

    A null row becomes an empty row.

    Args:
        feature: the feature that an error names.
        column: (B,) lists or arrays.
        last: keep only the last ``last`` values of each list; None keeps all.

    Raises:
        UserError: the column does not hold lists.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.String))
    if not isinstance(column.dtype, pl.List):
        raise UserError(f"{feature._label}: column {feature.source_column!r} holds {column.dtype}; it must hold lists")
    column = column.list.drop_nulls()
    if last is not None:
        column = column.list.tail(last)
    lengths = column.list.len().fill_null(0).cast(pl.Int64)
    offsets = torch.zeros(len(column) + 1, dtype=torch.int64)
    torch.cumsum(torch.from_numpy(lengths.to_numpy().copy()), 0, out=offsets[1:])
    return column.filter(lengths > 0).explode(), offsets


def as_floats(feature: Feature, column: pl.Series) -> Floats:
    """Convert numbers, booleans, dates, times or durations to (B,) float64; null becomes NaN.

    Raises:
        UserError: the column has another type, or infinite values.
    """
    dtype = column.dtype
    if dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("us").cast(pl.Float64) / 1e6
    elif dtype == pl.Duration:
        column = column.dt.total_microseconds().cast(pl.Float64) / 1e6
    elif dtype == pl.Time:
        column = column.to_physical().cast(pl.Float64) / 1e9
    elif not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} is of type {dtype}; it must hold numbers, booleans, "
            "dates or durations (cast numbers that were read as text, or use Categorical)"
        )
    values: Floats = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    infinite = np.isinf(values)
    if infinite.any():
        raise UserError(f"{feature._label}: {how_many(infinite)} are infinite; replace them by null or a number")
    return values


def how_many(bad: NDArray[np.bool_]) -> str:
    """Describe the number of bad values and their first rows, for an error message."""
    rows = ", ".join(map(str, np.flatnonzero(bad)[:3]))
    return f"{int(bad.sum()):,} of {len(bad):,} values (first rows, counted from 0: {rows})"
