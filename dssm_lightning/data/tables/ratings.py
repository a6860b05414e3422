"""The column of numbers that a rating head predicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import polars as pl

from dssm_lightning.data.sources.value_types import as_numbers
from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError


def with_rating(raw: RawTables, column: str, query_columns: Collection[str]) -> RawTables:
    """Return the tables with the ratings as numbers; null = not rated.

    Args:
        raw: the tables of a source.
        column: column of the interactions.
        query_columns: columns that features of the query side read.

    Raises:
        UserError: the column is missing, holds something else than finite numbers, is the same in every row, or is read
            by a query feature.

    Example:
        >>> from dssm_lightning.data.tables.column_roles import ColumnRoles
        >>> log = pl.DataFrame({"user": [1, 2, 2], "item": [7, 7, 8], "stars": ["4", "", "2"]})
        >>> with_rating(RawTables(log, None, None, ColumnRoles()), "stars", []).interactions["stars"].to_list()
        [4.0, None, 2.0]
    """
    about = f"data: rating column {column!r}"
    checks.columns(raw.interactions, "interactions", [column], "data: rating column")
    if column in query_columns:
        raise UserError(f"query feature column {column!r} holds the answer of data.rating; it cannot be a feature")
    values = as_numbers(raw.interactions[column], about)
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise UserError(f"{about} is {values.dtype}; it must hold numbers")
    values = values.cast(pl.Float64).fill_nan(None)
    wrong = values.is_infinite().fill_null(False)
    if count := int(wrong.sum()):
        raise UserError(f"{about}: {count:,} of {len(values):,} ratings are infinite, first in row {wrong.arg_max()}")
    known = values.drop_nulls()
    if known.n_unique() < 2:
        found = f"is {known[0]:g} in all {len(known):,} rows that have one" if len(known) else "has no value"
        raise UserError(f"{about} {found}; there is nothing to predict: leave out data.rating")
    return replace(raw, interactions=raw.interactions.with_columns(values.alias(column)))
