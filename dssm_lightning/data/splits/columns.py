"""What splits read of the tables, row by row, and how messages show it."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.ordering import IntArray, codes
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError


def column_of(split: Split, tables: Tables, name: str) -> pl.Series:
    """(R,) a column of the interactions, or of their queries.

    Raises:
        ValueError: neither has it; the message has the columns there are.
    """
    key, queries = tables.keys.query_id, tables.queries
    if name in tables.interactions.columns:
        return tables.interactions[name]
    if name in queries.columns:
        ids, values = queries[key], queries[name]
        found: pl.Series = tables.interactions[key].replace_strict(ids, values, default=None, return_dtype=values.dtype)
        return found
    raise UserError(
        f"{type(split).__name__}: no column {name!r}; interactions has {', '.join(tables.interactions.columns)}; "
        f"queries has {', '.join(queries.columns)}"
    )


def examples(column: pl.Series) -> str:
    """The first distinct values of a column, for a message."""
    values = column.unique().sort()
    return ", ".join(map(repr, values.head(10))) + (f" and {len(values) - 10} others" if len(values) > 10 else "")


def query_codes(tables: Tables) -> IntArray:
    """(R,) queries numbered by ascending id."""
    return codes(tables.query_rows, tables.queries[tables.keys.query_id])
