"""Raw columns of any type, read as strings, lists or floats."""

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

_LARGEST_EXACT = 2.0**53  # beyond it neighbouring whole numbers are the same float


def as_strings(feature: Feature, column: pl.Series) -> pl.Series:
    """(B,) categories of any plain type as strings; whole floats as integers, NaN as null.

    Raises:
        ValueError: fractional numbers, or values of a nested or binary type.
    """
    dtype = column.dtype
    label = f"{type(feature).__name__} feature {feature.name!r}"
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise UserError(
            f"{label}: column {feature.source_column!r} is of type {dtype}, whose values are no categories; "
            "a column of lists is a CategoricalList's"
        )
    if dtype.is_float() or dtype.is_decimal():
        floats = column.cast(pl.Float64).fill_nan(None)
        odd = floats.filter((floats != floats.round()) | (floats.abs() > _LARGEST_EXACT))
        if len(odd):
            raise UserError(
                f"{label}: {len(odd):,} of {len(column):,} values are not whole numbers, first "
                f"{odd.head(3).to_list()}; Numeric and Bucketized take numbers"
            )
        column = floats.cast(pl.Int64)
    strings: pl.Series = column.cast(pl.String)
    return strings


def flatten(feature: Feature, column: pl.Series, last: int | None = None) -> tuple[pl.Series, Tensor]:
    """A column of B lists as its values (T,) without nulls, and int64 offsets (B + 1,); a null row is an empty one.

    Args:
        feature: whom an error names.
        column: (B,) lists or arrays.
        last: keep only this many values of each list, the last ones.

    Raises:
        ValueError: the column holds no lists.
    """
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.String))
    if not isinstance(column.dtype, pl.List):
        raise UserError(
            f"{type(feature).__name__} feature {feature.name!r}: column {feature.source_column!r} must hold lists, "
            f"found {column.dtype}"
        )
    column = column.list.drop_nulls()
    if last is not None:
        column = column.list.tail(last)
    lengths = column.list.len().fill_null(0).cast(pl.Int64)
    offsets = torch.zeros(len(column) + 1, dtype=torch.int64)
    torch.cumsum(torch.from_numpy(lengths.to_numpy().copy()), 0, out=offsets[1:])
    return column.filter(lengths > 0).explode(), offsets


def as_floats(feature: Feature, column: pl.Series) -> Floats:
    """(B,) float64 of any column that is a quantity; null becomes NaN.

    Raises:
        ValueError: another type; infinite values.
    """
    dtype = column.dtype
    label = f"{type(feature).__name__} feature {feature.name!r}"
    if dtype in (pl.Date, pl.Datetime):
        column = column.dt.epoch("us").cast(pl.Float64) / 1e6
    elif dtype == pl.Duration:
        column = column.dt.total_microseconds().cast(pl.Float64) / 1e6
    elif dtype == pl.Time:
        column = column.to_physical().cast(pl.Float64) / 1e9
    elif not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise UserError(
            f"{label}: column {feature.source_column!r} is of type {dtype}; numbers, booleans, dates and durations are "
            "possible (cast numbers that were read as text, or make it a Categorical)"
        )
    values: Floats = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    infinite = np.isinf(values)
    if infinite.any():
        raise UserError(f"{label}: {how_many(infinite)} are infinite; replace them by null or by a number")
    return values


def how_many(bad: NDArray[np.bool_]) -> str:
    """How many of the values are bad, and where the first ones stand."""
    rows = ", ".join(map(str, np.flatnonzero(bad)[:3]))
    return f"{int(bad.sum()):,} of {len(bad):,} values (first rows, counted from 0: {rows})"
