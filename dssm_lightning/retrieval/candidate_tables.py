"""The candidates of a corpus as a Polars table, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl

NOT_STORED = ("Binary", "Object")
"""Polars types of columns that no search shows: pictures, and Python objects."""


def rows_of(table: pl.DataFrame) -> CandidateRows:
    """Return the rows of a table (N,), whose first column has the ids.

    Columns of bytes, such as pictures, and of Python objects are left out.

    Raises:
        UserError: an id that is missing or occurs twice; a value that JSON cannot hold.

    Example:
        >>> import datetime, polars as pl
        >>> rows_of(pl.DataFrame({"id": [7], "seen": [datetime.date(2024, 1, 31)]})).values(0)
        [7, '2024-01-31']
    """
    kept = table.select([name for name, dtype in table.schema.items() if str(dtype) not in NOT_STORED])
    if kept.columns[:1] != table.columns[:1]:
        raise UserError(f"the candidate's id {table.columns[0]!r} holds {table.dtypes[0]}; an id is a text or a number")
    return CandidateRows.of(kept.columns, kept.iter_rows())


def kinds_of(table: pl.DataFrame) -> dict[str, str]:
    """Return the kind of each column, one of :data:`~dssm_lightning.retrieval.column_kinds.KINDS`.

    Example:
        >>> import polars as pl
        >>> kinds_of(pl.DataFrame({"id": ["a"], "year": [1999]}))
        {'id': 'text', 'year': 'number'}
    """
    import polars as pl

    texts = (pl.String, pl.Categorical, pl.Enum)
    types = {"date": (pl.Date,), "datetime": (pl.Datetime,), "text": texts, "truth": (pl.Boolean,)}

    def kind_of(dtype: pl.DataType) -> str:
        if dtype.is_numeric():
            return "number"
        return next((kind for kind, known in types.items() if isinstance(dtype, known)), "other")

    return {name: kind_of(dtype) for name, dtype in table.schema.items() if str(dtype) not in NOT_STORED}


def table_of(rows: CandidateRows, kinds: dict[str, str]) -> pl.DataFrame:
    """Return the table of rows, with dates and times as such.

    Args:
        rows: the candidates.
        kinds: the kind of each column; others are as Polars reads JSON's values.
    """
    import polars as pl

    return pl.DataFrame([series_of(rows, name, kinds) for name in rows.columns])


def series_of(rows: CandidateRows, name: str, kinds: dict[str, str]) -> pl.Series:
    """Return one column of the table that :func:`table_of` returns."""
    import polars as pl

    types = {"date": pl.Date(), "datetime": pl.Datetime("us")}
    series = pl.Series(name, rows.column(name), strict=False)
    if kinds.get(name) in types:
        series = series.cast(pl.String).str.to_datetime(strict=False).cast(types[kinds[name]])
    return series
