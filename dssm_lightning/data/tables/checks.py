"""What raw tables must be like. Each check passes silently or raises an error that says what to change."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from torch import Tensor

from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

EXAMPLES = 3


def columns(frame: pl.DataFrame, table: str, names: Sequence[str], role: str) -> None:
    """Every name is a column of the table.

    Raises:
        ValueError: one is not; the message has the columns there are, and the nearest name.
    """
    for name in names:
        if name not in frame.columns:
            raise UserError(
                f"{role} {name!r}: no such column; {_columns(table, frame)}{did_you_mean(name, frame.columns)}"
            )


def query_columns(
    interactions: pl.DataFrame, queries: pl.DataFrame | None, names: Sequence[str], keys: ColumnRoles
) -> None:
    """Every feature of the query side finds its column in one table, and none reads what is to be predicted.

    Raises:
        ValueError: a column is in neither table or in both, or it is the candidate's id or the label.
    """
    own: Sequence[str] = [] if queries is None else queries.columns
    for name in names:
        role = f"query feature column {name!r}"
        if name in (keys.candidate_id, keys.label, keys.grade):
            raise UserError(f"{role} is what the model is to predict; it cannot be a feature of the query")
        if name in own and name in interactions.columns and name != keys.query_id:
            raise UserError(
                f"{role} is in queries and in interactions, and they may differ: rename or drop one of the two"
            )
        if name not in own and name not in interactions.columns:
            there = _columns("interactions", interactions)
            there = there if queries is None else f"{_columns('queries', queries)}; {there}"
            raise UserError(f"{role}: no such column; {there}{did_you_mean(name, [*own, *interactions.columns])}")


def _columns(table: str, frame: pl.DataFrame) -> str:
    there = f"{table} has {', '.join(frame.columns) or 'no columns'}"
    if len(frame.columns) == 1 and (found := [sign for sign in ",;\t|" if sign in frame.columns[0]]):
        there += f" (one column, with {found[0]!r} in its name: a .csv has commas between its fields, a .tsv tabs)"
    return there


def not_empty(frame: pl.DataFrame, table: str) -> None:
    """The table has rows.

    Raises:
        ValueError: it has none.
    """
    if frame.is_empty():
        what = "an interaction" if table == "interactions" else "a query" if table == "queries" else "a candidate"
        raise UserError(f"{table} has no rows ({_columns(table, frame)}); at least {what} is needed")


def align_ids(
    interactions: pl.DataFrame, other: pl.DataFrame | None, table: str, key: str
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Both tables with the key column of one type, integer or text, and without nulls.

    Integers of any width become Int64, text of any kind String. Integers are not compared with text: "007" and "7"
    may be two ids or one, which only the user knows.

    Raises:
        ValueError: ids of another type, of different types, or null.
    """
    interactions = _plain_ids(interactions, "interactions", key)
    if other is None:
        return interactions, None
    other = _plain_ids(other, table, key)
    here, there = interactions.schema[key], other.schema[key]
    if here != there:
        raise UserError(
            f"ids of different types: {key!r} is {here} in interactions and {there} in {table}; "
            "store it as the same type in both"
        )
    return interactions, other


def _plain_ids(frame: pl.DataFrame, table: str, key: str) -> pl.DataFrame:
    ids = frame[key]
    if nulls := ids.null_count():
        row = ids.is_null().arg_max()
        raise UserError(f"{table}: id column {key!r} is null in {nulls:,} of {len(ids):,} rows, first in row {row}")
    text = ids.dtype == pl.String or isinstance(ids.dtype, pl.Categorical | pl.Enum)
    if not (text or ids.dtype.is_integer()):
        hint = " (a column with missing values turns integers into floats)" if ids.dtype.is_float() else ""
        raise UserError(f"{table}: ids must be integers or text, {key!r} is {ids.dtype}{hint}")
    return frame.with_columns(ids.cast(pl.String if text else pl.Int64))


def ids_unique(frame: pl.DataFrame, table: str, key: str) -> None:
    """No two rows have one id.

    Raises:
        ValueError: some have; their number, and the first ones.
    """
    repeated = frame[key].filter(frame[key].is_duplicated()).unique(maintain_order=True)
    if len(repeated):
        raise UserError(
            f"{table}: {len(repeated):,} ids of {key!r} occur more than once, first {_first(repeated)}; "
            "keep one row for each"
        )


def ids_known(interactions: pl.DataFrame, frame: pl.DataFrame, table: str, key: str, rows: Tensor) -> None:
    """Every interaction names a row of the table: ``rows`` (R,), negative where there is none.

    Raises:
        ValueError: some do not; how many, and the first ids.
    """
    if not len(rows) or int(rows.min()) >= 0:
        return
    unknown = interactions.select(key).join(frame.select(key), on=key, how="anti", maintain_order="left")[key]
    ids = unknown.unique(maintain_order=True)
    raise UserError(
        f"{len(unknown):,} of {len(interactions):,} interactions name {len(ids):,} ids of {key!r} that {table} "
        f"({len(frame):,} rows) does not have, first {_first(ids)}; add them to {table}, or drop those interactions"
    )


def _first(values: pl.Series) -> str:
    return ", ".join(repr(value) for value in values.head(EXAMPLES)) + (", …" if len(values) > EXAMPLES else "")


def no_contradiction(rows: pl.DataFrame, key: str, names: Sequence[str]) -> None:
    """Distinct rows of a flat table's candidate columns: no two of them are one candidate.

    Raises:
        ValueError: some are; how many, and the first id with the column and both of its values.
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
    """Every label is 0 or 1 (or false and true).

    Raises:
        ValueError: another value, or null.
    """
    if column is None:
        return
    values = interactions[column].unique(maintain_order=True)
    could = values.dtype.is_numeric() or values.dtype == pl.Boolean
    wrong = values.filter(~values.cast(pl.Float64).is_in([0.0, 1.0]).fill_null(False)) if could else values
    if len(wrong):
        raise UserError(
            f"label column {column!r} must hold 1 (liked) or 0 (shown and not liked), found {_first(wrong)}; "
            "turn ratings into labels first, or leave out label where every interaction is a positive"
        )


def weights(interactions: pl.DataFrame, column: str | None) -> None:
    """Every weight is a finite number, 0 or more.

    Raises:
        ValueError: one is not; how many, and the first.
    """
    if column is None:
        return
    values = interactions[column]
    if not values.dtype.is_numeric():
        raise UserError(f"weight column {column!r} must hold numbers, it is {values.dtype}")
    floats = values.cast(pl.Float64)
    wrong = floats.is_null() | ~floats.is_finite().fill_null(False) | (floats < 0).fill_null(False)
    if count := int(wrong.sum()):
        row = wrong.arg_max()
        raise UserError(
            f"weight column {column!r}: {count:,} of {len(values):,} weights are negative, infinite or missing, "
            f"first {values[row]!r} in row {row}"
        )


def times(interactions: pl.DataFrame, column: str | None) -> None:
    """Every time is a number or a datetime.

    Raises:
        ValueError: text, or missing values; how many, and the first row.
    """
    if column is None:
        return
    values = interactions[column]
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        raise UserError(f"time column {column!r} must hold numbers or datetimes, it is {values.dtype}")
    missing = values.is_null() | values.is_nan().fill_null(False) if values.dtype.is_float() else values.is_null()
    if count := int(missing.sum()):
        raise UserError(
            f"time column {column!r} is missing in {count:,} of {len(values):,} interactions, first in row "
            f"{missing.arg_max()}; drop them, or leave out time where no order is known"
        )


def grades(interactions: pl.DataFrame, column: str | None, label: str | None) -> None:
    """Every grade is a whole number, 0 or more, and that of a liked row at least 1.

    Raises:
        ValueError: one is not; how many, and the first.
    """
    if column is None:
        return
    values = interactions[column]
    if not values.dtype.is_numeric():
        raise UserError(f"grade column {column!r} must hold numbers, it is {values.dtype}")
    floats = values.cast(pl.Float64)
    wrong = ~(floats.is_finite() & (floats == floats.floor()) & (floats >= 0)).fill_null(False)
    if count := int(wrong.sum()):
        row = wrong.arg_max()
        raise UserError(
            f"grade column {column!r}: {count:,} of {len(values):,} grades are negative, broken or missing, first "
            f"{values[row]!r} in row {row}; they must be whole numbers, 0 or more"
        )
    liked = floats.is_not_null() if label is None else interactions[label].cast(pl.Float64) > 0
    if count := int((liked & (floats == 0)).sum()):
        hint = "name a label column that is 0 there" if label is None else f"set {label!r} to 0 there"
        raise UserError(
            f"grade column {column!r}: {count:,} liked rows have grade 0, first in row "
            f"{(liked & (floats == 0)).arg_max()}; what is relevant has at least 1: drop these rows, or {hint}"
        )
