"""Checks of raw tables. Each error names the column, the values found and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.features.raw_values import shown
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 3
MIN_WEIGHT, MAX_WEIGHT = 1e-25, 1e25
"""Batches of such weights have finite sums in float32, also when they are multiplied by losses."""
MAX_GRADE = 2**24
"""float32 holds each whole number up to this one."""


def columns(frame: pl.DataFrame, table: str, names: Sequence[str], role: str) -> None:
    """Refuse a name that is no column of the table; ``role`` is the use of the columns, such as ``label column``.

    Raises:
        UserError: a column is missing. The message lists the table's columns and suggests the most similar one.
    """
    for name in names:
        if name not in frame.columns:
            raise UserError(
                f"{role} {name!r}: no such column; {_columns((table, frame))}{did_you_mean(name, frame.columns)}"
            )


def query_columns(
    interactions: pl.DataFrame, queries: pl.DataFrame | None, names: Sequence[str], keys: ColumnRoles
) -> None:
    """Refuse query feature columns that are ambiguous, missing, or that hold the answer.

    Raises:
        UserError: a column is in neither table or in both; a column is the candidate's id, the label or the grade.
    """
    own: Sequence[str] = [] if queries is None else queries.columns
    for name in names:
        role = f"query feature column {name!r}"
        if name in (keys.candidate_id, keys.label, keys.grade):
            raise UserError(f"{role} holds the answer that the model predicts; it cannot be a feature of the query")
        if name in own and name in interactions.columns and name != keys.query_id:
            raise UserError(
                f"{role} is in queries and in interactions, and their values may differ: rename or drop one of the two"
            )
        if name not in own and name not in interactions.columns:
            tables = (
                [("interactions", interactions)]
                if queries is None
                else [("queries", queries), ("interactions", interactions)]
            )
            found = _columns(*tables)
            raise UserError(f"{role}: no such column; {found}{did_you_mean(name, [*own, *interactions.columns])}")


def _columns(*tables: tuple[str, pl.DataFrame]) -> str:
    """Return a text that lists the columns of tables, with one hint if a file seems to be written in another way."""
    text = "; ".join(f"{table} has {', '.join(frame.columns) or 'no columns'}" for table, frame in tables)
    for _, frame in tables:
        if len(frame.columns) == 1 and (found := [sign for sign in ("::", *",;\t|") if sign in frame.columns[0]]):
            hint = "commas separate the fields of a .csv, tabs a .tsv; for another separator set `separator`"
            return f"{text} (one column, with {found[0]!r} in its name; {hint})"
        if any(name.replace(".", "", 1).isdecimal() for name in frame.columns):
            return f"{text} (if the first line of the file has values and no names, name them by `columns`)"
    return text


def not_empty(frame: pl.DataFrame, table: str) -> None:
    """Refuse a table without rows.

    Raises:
        UserError: the table has no rows.
    """
    if frame.is_empty():
        raise UserError(f"{table} has no rows ({_columns((table, frame))}); it needs at least one row")


def ids_unique(frame: pl.DataFrame, table: str, key: str) -> None:
    """Refuse a table in which an id occurs more than once.

    Raises:
        UserError: ids occur more than once. The message has their number and the first ids.
    """
    repeated = frame[key].filter(frame[key].is_duplicated()).unique(maintain_order=True)
    if len(repeated):
        raise UserError(
            f"{table}: {len(repeated):,} ids of {key!r} occur more than once, first {_first(repeated)}; "
            "keep one row for each id"
        )


def ids_known(interactions: pl.DataFrame, frame: pl.DataFrame, table: str, key: str, rows: Tensor) -> None:
    """Refuse interactions whose id is not in the table: ``rows`` (R,) int64, the table's rows, has a −1.

    Raises:
        UserError: unknown ids. The message has their number and the first ids.
    """
    if not len(rows) or int(rows.min()) >= 0:
        return
    unknown = interactions.select(key).join(frame.select(key), on=key, how="anti", maintain_order="left")[key]
    ids = unknown.unique(maintain_order=True)
    raise UserError(
        f"{len(unknown):,} of {len(interactions):,} interactions name {len(ids):,} ids of {key!r} that {table} "
        f"({len(frame):,} rows) does not have, first {_first(ids)}; add them to {table}, or drop these interactions"
    )


def _first(values: pl.Series) -> str:
    first = values.head(EXAMPLES).to_list()
    return ", ".join(map(shown, first)) + (", …" if len(values) > EXAMPLES else "")


def _first_true(column: pl.Series) -> int:
    return column.arg_max() or 0


def no_contradiction(rows: pl.DataFrame, key: str, names: Sequence[str]) -> None:
    """Refuse distinct rows of candidate columns (``key`` and ``names``) in which a candidate has several rows.

    Raises:
        UserError: rows contradict each other. The message has the first id, the column and two of its values.
    """
    repeated = rows.filter(rows[key].is_duplicated())
    if repeated.is_empty():
        return
    first = repeated[key][0]
    two = repeated.filter(pl.col(key) == first).head(2)
    name = next(name for name in names if two[name].n_unique() > 1)
    raise UserError(
        f"interactions contradict each other about {repeated[key].n_unique():,} candidates: {key} {first!r} has "
        f"{name} {two[name][0]!r} and {two[name][1]!r}; make the rows agree, or give a table of candidates"
    )


def labels(interactions: pl.DataFrame, column: str | None) -> None:
    """Refuse labels other than 0 and 1, or false and true.

    Raises:
        UserError: another value, or null.
    """
    if column is None:
        return
    values = interactions[column].unique(maintain_order=True)
    castable = values.dtype.is_numeric() or values.dtype == pl.Boolean
    wrong = values.filter(~values.cast(pl.Float64).is_in([0.0, 1.0]).fill_null(False)) if castable else values
    if len(wrong):
        raise UserError(
            f"label column {column!r} must hold 1 (liked) or 0 (shown and not liked), found {_first(wrong)}; "
            "turn ratings into labels first (in `Files` by `label_above` or `positive`), or leave out `label` if every "
            "interaction is a positive"
        )


def _floats(values: pl.Series, role: str) -> pl.Series:
    if not values.dtype.is_numeric():
        raise UserError(f"{role} is {values.dtype}; it must hold numbers")
    floats: pl.Series = values.cast(pl.Float64)
    return floats


def weights(interactions: pl.DataFrame, column: str | None) -> None:
    """Refuse weights that are negative, infinite or missing, or too great or too small for sums in float32.

    Raises:
        UserError: such weights, or a column without numbers. The message has their number and the first weight.
    """
    if column is None:
        return
    values = interactions[column]
    floats = _floats(values, f"weight column {column!r}")
    wrong = floats.is_null() | ~floats.is_finite().fill_null(False) | (floats < 0).fill_null(False)
    if count := int(wrong.sum()):
        row = _first_true(wrong)
        raise UserError(
            f"weight column {column!r}: {count:,} of {len(values):,} weights are negative, infinite or missing, "
            f"first {values[row]!r} in row {row}"
        )
    wrong = (floats != 0) & ~floats.is_between(MIN_WEIGHT, MAX_WEIGHT)
    if count := int(wrong.sum()):
        row = _first_true(wrong)
        raise UserError(
            f"weight column {column!r}: {count:,} of {len(values):,} weights are out of range, first {values[row]!r} "
            f"in row {row}; weights must be 0, or from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}: divide them by their mean"
        )


def times(interactions: pl.DataFrame, column: str | None) -> None:
    """Refuse times that are neither numbers nor dates nor datetimes, or that are missing or infinite.

    Raises:
        UserError: text, durations, times of day, missing or infinite values. The message has the number of such values
            and the first row.
    """
    if column is None:
        return
    values = interactions[column]
    if not (values.dtype.is_numeric() or isinstance(values.dtype, pl.Date | pl.Datetime)):
        raise UserError(f"time column {column!r} is {values.dtype}; it must hold numbers, dates or datetimes")
    missing = values.is_null() | values.is_nan().fill_null(False) if values.dtype.is_float() else values.is_null()
    if count := int(missing.sum()):
        raise UserError(
            f"time column {column!r} is missing in {count:,} of {len(values):,} interactions, first in row "
            f"{_first_true(missing)}; drop these rows, or leave out `time` if no order is known"
        )
    if values.dtype.is_float() and (count := int(values.is_infinite().sum())):
        row = _first_true(values.is_infinite())
        raise UserError(
            f"time column {column!r}: {count:,} of {len(values):,} times are infinite, first {values[row]!r} in row "
            f"{row}; drop these rows, or give them a time"
        )


def grades(interactions: pl.DataFrame, column: str | None, label: str | None) -> None:
    """Refuse grades that are no whole number from 0 on, and liked rows with grade 0.

    A row with label 0 may have a negative one, as judgements in TREC's format mark spam; it means 0.

    Raises:
        UserError: such grades, or a column without numbers. The message has their number and the first row.
    """
    if column is None:
        return
    values = interactions[column]
    floats = _floats(values, f"grade column {column!r}")
    liked = floats.is_not_null() if label is None else interactions[label].cast(pl.Float64) > 0
    low = pl.select(pl.when(liked).then(0.0).otherwise(-float(MAX_GRADE))).to_series()
    wrong = ~((floats >= low) & (floats <= MAX_GRADE) & (floats == floats.floor())).fill_null(False)
    if count := int(wrong.sum()):
        row = _first_true(wrong)
        raise UserError(
            f"grade column {column!r}: {count:,} of {len(values):,} grades are negative, fractional, infinite or "
            f"missing, first {values[row]!r} in row {row}; grades must be whole numbers from 0 to {MAX_GRADE:,}"
        )
    if count := int((liked & (floats == 0)).sum()):
        hint = "name a label column that is 0 in these rows" if label is None else f"set {label!r} to 0 in them"
        raise UserError(
            f"grade column {column!r}: {count:,} liked rows have grade 0, first in row "
            f"{_first_true(liked & (floats == 0))}; a liked row has a grade of at least 1: drop these rows, or {hint}"
        )
