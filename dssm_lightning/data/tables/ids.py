"""Ids of any type as Int64 or text, the same in both tables that have them."""

from __future__ import annotations

import polars as pl

from dssm_lightning.features.raw_values import shown
from dssm_lightning.utils.errors import UserError

_REMEDIES = (
    (
        pl.Binary,
        "turn the bytes into text, such as pl.col({key!r}).bin.encode('hex') in Polars, or str(uuid) for UUIDs",
    ),
    (pl.Boolean, "name the column that identifies a row"),
)


def align_ids(
    interactions: pl.DataFrame, other: pl.DataFrame | None, table: str, key: str
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return both tables with ids of the same type, Int64 or String.

    Integers of any width, and decimals without a fraction, become Int64. If one of them does not fit into 64 bits with
    a sign, such as a hash from 2^63 on, the ids of both tables become text. Text of any kind becomes String. Integers
    are not compared with text: only the user knows whether "007" and "7" are the same id.

    Raises:
        UserError: ids of another type, of different types, or null.

    Example:
        >>> hashes = pl.DataFrame({"id": pl.Series([7, 2**63], dtype=pl.UInt64)})
        >>> [frame["id"].to_list() for frame in align_ids(hashes, pl.DataFrame({"id": [7]}), "queries", "id")]
        [['7', '9223372036854775808'], ['7']]
    """
    own = _whole_or_text(interactions, "interactions", key)
    others = None if other is None else _whole_or_text(other, table, key)
    found = [ids for ids in (own, others) if ids is not None]
    numbers = [ids for ids in found if ids.dtype != pl.String]
    if any(_fitting(ids).null_count() for ids in numbers):
        found = [ids.cast(pl.String) for ids in found]
    elif len(numbers) < len(found) and numbers:
        own_type, other_type = ("String" if ids.dtype == pl.String else "Int64" for ids in found)
        raise UserError(
            f"ids of different types: {key!r} is {own_type} in interactions and {other_type} in {table}; store the ids "
            f"as the same type in both tables (in `Files`: `dtypes: {{{key}: text}}`)"
        )
    else:
        found = [ids if ids.dtype == pl.String else _fitting(ids) for ids in found]
    aligned = interactions.with_columns(found[0])
    return aligned, None if other is None else other.with_columns(found[1])


def _fitting(ids: pl.Series) -> pl.Series:
    found: pl.Series = ids.cast(pl.Int64, strict=False)
    return found


def _whole_or_text(frame: pl.DataFrame, table: str, key: str) -> pl.Series:
    """Return ids as integers of any width, or as String.

    Raises:
        UserError: ids that are null, or of another type.
    """
    ids: pl.Series = frame[key]
    about = f"{table}: id column {key!r}"
    if nulls := ids.null_count():
        row = ids.is_null().arg_max() or 0
        raise UserError(f"{about} is null in {nulls:,} of {len(ids):,} rows, first in row {row}")
    if ids.dtype == pl.String or isinstance(ids.dtype, pl.Categorical | pl.Enum):
        texts: pl.Series = ids.cast(pl.String)
        return texts
    if ids.dtype.is_integer():
        return ids
    if isinstance(ids.dtype, pl.Decimal):
        whole: pl.Series = ids.cast(pl.Decimal(38, 0), strict=False).cast(pl.Int128)
        if not (whole.cast(ids.dtype, strict=False) != ids).any():
            return whole
    hint = " (a column with missing values turns integers into floats)" if ids.dtype.is_float() else ""
    remedy = next((text for kind, text in _REMEDIES if ids.dtype == kind), "turn them into text, or number them")
    raise UserError(
        f"{about} is {ids.dtype}, such as {shown(ids[:1].to_list()[0])}; ids must be integers or text{hint}: "
        f"{remedy.format(key=key)}"
    )
