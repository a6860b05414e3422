"""Tables of raw texts: each row has a query, a text that is right for it, and perhaps texts that are wrong."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info

TRIPLET = {"query", "positive_doc"}
"""Columns of raw texts; a column ``negative_docs`` is optional."""


def is_triplets(frame: pl.DataFrame, query_id: str, candidate_id: str) -> bool:
    """Return whether a table has raw texts; with further columns, only if it has no columns of ids."""
    names = set(frame.columns)
    return names >= TRIPLET and (names <= TRIPLET | {"negative_docs"} or not {query_id, candidate_id} <= names)


def text_tables(frame: pl.DataFrame, keys: ColumnRoles, display: tuple[str, ...]) -> RawTables:
    """Return tables of raw texts; each text is its own id.

    A list of positive texts becomes several rows. Further columns stay in the interactions.

    Args:
        frame: the table.
        keys: the columns with a role; the ids are ``query`` and ``doc``.
        display: columns to show beside an answer.

    Raises:
        UserError: a column of other values than texts, or lists of texts.
    """
    further = [name for name in frame.columns if name not in TRIPLET | {"negative_docs"}]
    if "doc" in further:
        raise UserError(
            "interactions: columns 'doc' and 'positive_doc': the text of positive_doc becomes the column 'doc'; rename "
            "or drop one of the two"
        )
    if further:
        log_info(f"raw texts: further columns of the interactions: {', '.join(further)}")
    interactions = _one_positive_each(frame).rename({"positive_doc": "doc"})
    docs = [interactions["doc"]]
    if "negative_docs" in frame.columns:
        lists = _texts(interactions["negative_docs"])
        interactions = interactions.with_columns(lists)
        docs.append(lists.filter(lists.list.len() > 0).explode().rename("doc"))
    candidates = pl.concat([doc.to_frame() for doc in docs]).unique(maintain_order=True)
    queries = interactions.select("query").unique(maintain_order=True)
    roles = ColumnRoles("query", "doc", keys.label, keys.weight, keys.time, keys.grade)
    return RawTables(interactions, queries, candidates, roles, display)


def _texts(lists: pl.Series) -> pl.Series:
    """Return lists of texts without nulls; a null is an empty list."""
    if lists.dtype in (pl.Null, pl.List(pl.Null)):
        lists = lists.cast(pl.List(pl.String))
    if lists.dtype != pl.List(pl.String):
        raise UserError(f"column {lists.name} is {lists.dtype}; it must hold lists of texts")
    return lists.fill_null([]).list.drop_nulls()


def _one_positive_each(frame: pl.DataFrame) -> pl.DataFrame:
    column = frame["positive_doc"]
    if not isinstance(column.dtype, pl.List):
        return frame
    lists = _texts(column)
    empty = lists.list.len() == 0
    if count := int(empty.sum()):
        raise UserError(
            f"column positive_doc: {count:,} of {len(lists):,} lists are empty, first in row {empty.arg_max()} "
            "(counted from 0); name at least one text, or drop these rows"
        )
    return frame.with_columns(lists).explode("positive_doc")
