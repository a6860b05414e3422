"""Checks of raw tables. Each error names the column, the values found and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from torch import Tensor

from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

EXAMPLES = 3


def columns(frame: pl.DataFrame, table: str, names: Sequence[str], role: str) -> None:
    """Refuse a name that is no column of the table; ``role`` is the use of the columns, such as ``label column``.

    Raises:
        UserError: a column is missing. The message lists the table's columns and suggests the most similar one.
    """
    for name in names:
        if name not in frame.columns:
            raise UserError(
                f"{role} {name!r}: no such column; {_columns(table, frame)}{did_you_mean(name, frame.columns)}"
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
            found = _columns("interactions", interactions)
            found = found if queries is None else f"{_columns('queries', queries)}; {found}"
            raise UserError(f"{role}: no such column; {found}{did_you_mean(name, [*own, *interactions.columns])}")


def _columns(table: str, frame: pl.DataFrame) -> str:
    """Return a text that lists the columns of a table, with a hint if the separator of its file seems to be wrong."""
    text = f"{table} has {', '.join(frame.columns) or 'no columns'}"
    if len(frame.columns) == 1 and (found := [sign for sign in ",;\t|" if sign in frame.columns[0]]):
        text += f" (one column, with {found[0]!r} in its name; commas separate the fields of a .csv, tabs a .tsv)"
    return text


def not_empty(frame: pl.DataFrame, table: str) -> None:
    """Refuse a table without rows.

    Raises:
        UserError: the table has no rows.
    """
    if frame.is_empty():
        raise UserError(f"{table} has no rows ({_columns(table, frame)}); it needs at least one row")


def align_ids(
    interactions: pl.DataFrame, other: pl.DataFrame | None, table: str, key: str
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return both tables with ids of the same type, Int64 or String.

    Integers of any width become Int64, text of any kind becomes String. Integers are not compared with text: only the
    user knows whether "007" and "7" are the same id.

    Raises:
        UserError: ids of another type, of different types, or null.
    """
    interactions = _plain_ids(interactions, "interactions", key)
    if other is None:
        return interactions, None
    other = _plain_ids(other, table, key)
    own, others = interactions.schema[key], other.schema[key]
    if own != others:
        raise UserError(
            f"ids of different types: {key!r} is {own} in interactions and {others} in {table}; "
            "store the ids as the same type in both tables"
        )
    return interactions, other


def _plain_ids(frame: pl.DataFrame, table: str, key: str) -> pl.DataFrame:
    ids = frame[key]
    if nulls := ids.null_count():
        row = _first_true(ids.is_null())
        raise UserError(f"{table}: id column {key!r} is null in {nulls:,} of {len(ids):,} rows, first in row {row}")
    text = ids.dtype == pl.String or isinstance(ids.dtype, pl.Categorical | pl.Enum)
    if not (text or ids.dtype.is_integer()):
        hint = " (a column with missing values turns integers into floats)" if ids.dtype.is_float() else ""
        raise UserError(f"{table}: id column {key!r} is {ids.dtype}; ids must be integers or text{hint}")
    return frame.with_columns(ids.cast(pl.String if text else pl.Int64))


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
    return ", ".join(repr(value) for value in values.head(EXAMPLES)) + (", …" if len(values) > EXAMPLES else "")


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
            "turn ratings into labels first, or leave out `label` if every interaction is a positive"
        )


def _floats(values: pl.Series, role: str) -> pl.Series:
    if not values.dtype.is_numeric():
        raise UserError(f"{role} is {values.dtype}; it must hold numbers")
    floats: pl.Series = values.cast(pl.Float64)
    return floats


def weights(interactions: pl.DataFrame, column: str | None) -> None:
    """Refuse weights that are negative, infinite or missing.

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


def times(interactions: pl.DataFrame, column: str | None) -> None:
    """Refuse times that are neither numbers nor datetimes, or that are missing.

    Raises:
        UserError: text, or missing values. The message has their number and the first row.
    """
    if column is None:
        return
    values = interactions[column]
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        raise UserError(f"time column {column!r} is {values.dtype}; it must hold numbers or datetimes")
    missing = values.is_null() | values.is_nan().fill_null(False) if values.dtype.is_float() else values.is_null()
    if count := int(missing.sum()):
        raise UserError(
            f"time column {column!r} is missing in {count:,} of {len(values):,} interactions, first in row "
            f"{_first_true(missing)}; drop these rows, or leave out `time` if no order is known"
        )


def grades(interactions: pl.DataFrame, column: str | None, label: str | None) -> None:
    """Refuse grades that are no whole number from 0 on, and liked rows with grade 0.

    Raises:
        UserError: such grades, or a column without numbers. The message has their number and the first row.
    """
    if column is None:
        return
    values = interactions[column]
    floats = _floats(values, f"grade column {column!r}")
    wrong = ~(floats.is_finite() & (floats == floats.floor()) & (floats >= 0)).fill_null(False)
    if count := int(wrong.sum()):
        row = _first_true(wrong)
        raise UserError(
            f"grade column {column!r}: {count:,} of {len(values):,} grades are negative, fractional, infinite or "
            f"missing, first {values[row]!r} in row {row}; grades must be whole numbers, 0 or more"
        )
    liked = floats.is_not_null() if label is None else interactions[label].cast(pl.Float64) > 0
    if count := int((liked & (floats == 0)).sum()):
        hint = "name a label column that is 0 in these rows" if label is None else f"set {label!r} to 0 in them"
        raise UserError(
            f"grade column {column!r}: {count:,} liked rows have grade 0, first in row "
            f"{_first_true(liked & (floats == 0))}; a liked row has a grade of at least 1: drop these rows, or {hint}"
        )
