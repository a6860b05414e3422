"""Columns that splits read, with one value for each interaction."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.ordering import IntArray, codes
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean


def column_of(split: Split, tables: Tables, name: str) -> pl.Series:
    """Return a column of the interactions or of the queries as (R,) values of the interactions.

    Raises:
        UserError: neither table has the column. The message lists the columns of both.
    """
    key, queries = tables.keys.query_id, tables.queries
    if name in tables.interactions.columns:
        return tables.interactions[name]
    if name in queries.columns:
        ids, values = queries[key], queries[name]
        found: pl.Series = tables.interactions[key].replace_strict(ids, values, default=None, return_dtype=values.dtype)
        return found
    hint = did_you_mean(name, [*tables.interactions.columns, *queries.columns])
    raise UserError(
        f"{type(split).__name__}: no column {name!r}; interactions has {', '.join(tables.interactions.columns)}; "
        f"queries has {', '.join(queries.columns)}{hint}"
    )


def texts_of(split: Split, tables: Tables, name: str) -> pl.Series:
    """Return a column of the interactions or of the queries as texts (R,); null where it is missing or NaN.

    Raises:
        UserError: neither table has the column, or it holds no single values, such as lists or durations.
    """
    column = column_of(split, tables, name)
    if column.dtype.is_nested() or column.dtype in (pl.Duration, pl.Binary, pl.Object):
        raise UserError(
            f"{type(split).__name__}: column {name!r} is {column.dtype}; it must hold texts, numbers, dates or booleans"
        )
    texts: pl.Series = (column.fill_nan(None) if column.dtype.is_float() else column).cast(pl.String)
    return texts


def examples(column: pl.Series) -> str:
    """Return the first distinct values of a column as a text for a message."""
    values = column.unique().sort()
    return ", ".join(map(repr, values.head(10))) + (f" and {len(values) - 10} others" if len(values) > 10 else "")


def query_codes(tables: Tables) -> IntArray:
    """Return the query of each interaction (R,), numbered by ascending id."""
    return codes(tables.query_rows, tables.queries[tables.keys.query_id])
