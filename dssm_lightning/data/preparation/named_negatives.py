"""Negatives that the interactions list, or a file that the command ``mine`` wrote, as rows of the corpus."""

from __future__ import annotations

import polars as pl
import torch

from dssm_lightning.data.sources import reading
from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.tables import Tables, positions
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


def explicit_negatives(tables: Tables, column: str, file: str | None) -> Ragged:
    """Return R rows of corpus rows: the lists of an interaction column, or of a file with one list for each query.

    Args:
        tables: the tables.
        column: name of the column with lists of candidate ids.
        file: file that has the column; None = the interactions have it.

    Raises:
        FileNotFoundError: no such file.
        UserError: no such column; the column has no lists of candidate ids; a candidate is not in the corpus.
    """
    if file is None:
        checks.columns(tables.interactions, "interactions", [column], "negatives column")
        lists = tables.interactions[column]
    else:
        lists = _lists_of_queries(tables, column, file)
    ids = tables.candidates[tables.keys.candidate_id]
    if lists.dtype == pl.String:
        lists = _from_json(lists, column)
    if isinstance(lists.dtype, pl.Array):
        lists = lists.arr.to_list()
    if not isinstance(lists.dtype, pl.List):
        raise UserError(f"negatives column {column!r} is {lists.dtype}; it must hold lists of candidate ids")
    lists = lists.list.drop_nulls()
    flat = _ids(lists.fill_null([]).explode(empty_as_null=False), column, ids.dtype)
    unknown = flat.filter(~flat.is_in(ids.implode()))
    if len(unknown):
        raise UserError(
            f"negatives column {column!r} lists {len(unknown):,} candidates that the corpus does not have, "
            f"first {unknown.head(3).to_list()}; add them to the candidates, or remove them from the lists"
        )
    lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy().copy())
    return Ragged.from_lengths(positions(flat, ids), lengths)


def _lists_of_queries(tables: Tables, column: str, file: str) -> pl.Series:
    """Return the file's list for the query of each interaction, (R,); null if the file has no list for it."""
    key = tables.keys.query_id
    frame = reading.read(file, "negatives")
    checks.columns(frame, file, [key, column], "negatives column")
    checks.ids_unique(frame, file, key)
    of_query = frame.select(pl.col(key).cast(tables.interactions.schema[key]), column)
    return tables.interactions.select(key).join(of_query, on=key, how="left", maintain_order="left")[column]


def _ids(values: pl.Series, column: str, kind: pl.DataType) -> pl.Series:
    """Return the listed ids as ids of the corpus.

    Raises:
        UserError: values that are no ids of this type, such as 6.5 or "06" for numbers.
    """
    text = values.dtype == pl.String or isinstance(values.dtype, pl.Categorical | pl.Enum)
    if not (text or values.dtype.is_numeric() or values.dtype == pl.Null):
        raise UserError(f"negatives column {column!r} holds lists of {values.dtype}; it must hold lists of {kind} ids")
    own = values.cast(pl.String) if text else values
    found: pl.Series = own.cast(kind, strict=False)
    wrong = own.filter(found.is_null() | (found.cast(own.dtype, strict=False) != own))
    if len(wrong):
        raise UserError(
            f"negatives column {column!r} lists {len(wrong):,} values that are no {kind} ids, first "
            f"{wrong.head(3).to_list()}; list candidate ids as the candidates have them"
        )
    return found


def _from_json(lists: pl.Series, column: str) -> pl.Series:
    try:
        return lists.str.json_decode(pl.List(pl.String))  # as written: a decoded number could be rounded
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"negatives column {column!r} is String and no JSON such as [1, 2]; it must hold lists of candidate ids: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error
