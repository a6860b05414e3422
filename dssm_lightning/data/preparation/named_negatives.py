"""Negatives that the data itself names, or a file that ``mine`` wrote: from ids to rows of the corpus."""

from __future__ import annotations

import polars as pl
import torch

from dssm_lightning.data.sources import file_formats
from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.tables import Tables, positions
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


def explicit_negatives(tables: Tables, column: str, file: str | None) -> Ragged:
    """R rows of corpus rows: the lists of an interaction column, or those that a file has for each query.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such column; it holds no lists of candidate ids; a candidate that the corpus does not have.
    """
    if file is None:
        checks.columns(tables.interactions, "interactions", [column], "negatives column")
        lists = tables.interactions[column]
    else:
        lists = _of_queries(tables, column, file)
    ids = tables.candidates[tables.keys.candidate_id]
    if lists.dtype == pl.String:
        lists = _from_json(lists, column, ids.dtype)
    if not isinstance(lists.dtype, pl.List):
        raise UserError(f"negatives column {column!r} must hold lists of candidate ids, found {lists.dtype}")
    flat = lists.fill_null([]).explode(empty_as_null=False).cast(ids.dtype)
    unknown = flat.filter(~flat.is_in(ids.implode()))
    if len(unknown):
        raise UserError(
            f"negatives column {column!r} names {len(unknown):,} candidates that the corpus does not have, "
            f"first {unknown.head(3).to_list()}"
        )
    lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy().copy())
    return Ragged(positions(flat, ids), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))


def _of_queries(tables: Tables, column: str, file: str) -> pl.Series:
    """(R,) the file's list for each interaction's query; null where it has none."""
    key = tables.keys.query_id
    frame = file_formats.read(file, "negatives", None, [key, column])
    checks.columns(frame, file, [key, column], "negatives column")
    checks.ids_unique(frame, file, key)
    of_query = frame.select(pl.col(key).cast(tables.interactions.schema[key]), column)
    return tables.interactions.select(key).join(of_query, on=key, how="left", maintain_order="left")[column]


def _from_json(lists: pl.Series, column: str, kind: pl.DataType) -> pl.Series:
    try:
        return lists.str.json_decode(pl.List(kind))
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"negatives column {column!r} must hold lists of candidate ids, found String, which is no JSON such as "
            f"[1, 2]: {error}"
        ) from error
