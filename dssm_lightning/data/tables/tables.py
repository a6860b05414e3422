"""The three raw tables that a source returns, and the complete tables that all checks have passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.ids import align_ids
from dssm_lightning.utils import memory_mapped

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RawTables:
    """The tables that a source returns: interactions, queries and candidates. They are not checked yet.

    Example:
        >>> flat = pl.DataFrame({"user": [1, 1, 2], "film": [7, 8, 7], "title": ["Heat", "Up", "Heat"]})
        >>> raw = RawTables(flat, queries=None, candidates=None, keys=ColumnRoles("user", "film"))
        >>> raw.resolve(query_columns=["user"], candidate_columns=["title"]).candidates.rows()
        [(7, 'Heat'), (8, 'Up')]
    """

    interactions: pl.DataFrame
    """One row for each event: the id columns, and columns that vary by event, such as a timestamp or a fold."""
    queries: pl.DataFrame | None
    """One row for each query; None = the distinct queries of ``interactions``."""
    candidates: pl.DataFrame | None
    """The corpus, one row for each candidate; None = the distinct candidates of ``interactions``."""
    keys: ColumnRoles
    display: tuple[str, ...] = ()
    """Columns of ``candidates`` that are shown beside an answer, such as a title."""

    def resolve(self, query_columns: Sequence[str], candidate_columns: Sequence[str]) -> Tables:
        """Complete and check the tables, so that they contain every column that the features read.

        A column of the query side is in ``queries`` (one value for each query) or in ``interactions`` (one value for
        each event). If the source has no query table, a query table is made from the requested columns that do not vary
        within a query; the other columns stay in ``interactions``. If the source has no candidate table, a candidate
        table is made from the requested columns, which must not vary within a candidate.

        Args:
            query_columns: columns that features of the query side read.
            candidate_columns: columns that features of the candidate side read.

        Raises:
            UserError: a column is missing, is in both tables, or holds the answer; a table is empty; ids are null,
                repeated, unknown or of different types; invalid labels, weights, times or grades; candidate rows that
                contradict each other.
        """
        self._check_keys()
        for table, frame in self._named():
            checks.not_empty(frame, table)
        interactions, queries, candidates = self._aligned()
        checks.query_columns(interactions, queries, query_columns, self.keys)
        corpus, table = (interactions, "interactions") if candidates is None else (candidates, "candidates")
        checks.columns(corpus, table, candidate_columns, "candidate feature column")
        checks.columns(corpus, table, self.display, "display column")
        query_id, candidate_id = self.keys.query_id, self.keys.candidate_id
        if queries is None:
            queries = _distinct_queries(interactions, query_id, query_columns)
        if candidates is None:
            candidates = _distinct_candidates(interactions, candidate_id, [*candidate_columns, *self.display])
        queries, candidates = _key_first(queries, query_id), _key_first(candidates, candidate_id)
        tables = Tables(interactions, queries, candidates, self.keys, self.display)
        checks.ids_unique(queries, "queries", query_id)
        checks.ids_known(interactions, queries, "queries", query_id, tables.query_rows)
        checks.ids_unique(candidates, "candidates", candidate_id)
        checks.ids_known(interactions, candidates, "candidates", candidate_id, tables.candidate_rows)
        checks.labels(interactions, self.keys.label)
        checks.weights(interactions, self.keys.weight)
        checks.times(interactions, self.keys.time)
        checks.grades(interactions, self.keys.grade, self.keys.label)
        return tables

    def _named(self) -> list[tuple[str, pl.DataFrame]]:
        named = [("interactions", self.interactions), ("queries", self.queries), ("candidates", self.candidates)]
        return [(table, frame) for table, frame in named if frame is not None]

    def _check_keys(self) -> None:
        keys = self.keys
        own = {
            "interactions": {name: value for name, value in vars(keys).items() if isinstance(value, str)},
            "queries": {"query_id": keys.query_id},
            "candidates": {"candidate_id": keys.candidate_id},
        }
        for table, frame in self._named():
            for name, column in own[table].items():
                checks.columns(frame, table, [column], f"{name} column")

    def _aligned(self) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
        """Return the three tables with ids of the same type in all of them."""
        interactions, query_id, candidate_id = self.interactions, self.keys.query_id, self.keys.candidate_id
        interactions, queries = align_ids(interactions, self.queries, "queries", query_id)
        interactions, candidates = align_ids(interactions, self.candidates, "candidates", candidate_id)
        return interactions, queries, candidates


@dataclass(frozen=True)
class Tables(RawTables):
    """Complete and checked tables. The id is the first column of ``queries`` and ``candidates``; ids are distinct.

    :meth:`RawTables.resolve` makes them.

    Example:
        >>> flat = pl.DataFrame({"query_id": ["b", "a", "b"], "candidate_id": [7, 7, 8]})
        >>> tables = RawTables(flat, queries=None, candidates=None, keys=ColumnRoles()).resolve([], [])
        >>> tables.query_rows.tolist(), tables.candidate_rows.tolist()
        ([0, 1, 0], [0, 0, 1])
    """

    queries: pl.DataFrame
    candidates: pl.DataFrame

    @cached_property
    def query_rows(self) -> Tensor:
        """(R,) int64: the row of ``queries`` of each interaction."""
        return positions(self.interactions[self.keys.query_id], self.queries[self.keys.query_id])

    @cached_property
    def candidate_rows(self) -> Tensor:
        """(R,) int64: the row of ``candidates`` of each interaction."""
        return positions(self.interactions[self.keys.candidate_id], self.candidates[self.keys.candidate_id])


def positions(values: pl.Series, ids: pl.Series) -> Tensor:
    """Return the position (n,) int64 of each value among the distinct ids, −1 for a value that is no id."""
    rows = pl.LazyFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    found = pl.LazyFrame({"id": values}).join(rows, on="id", how="left", maintain_order="left")
    return memory_mapped.evaluated(found.select(pl.col("row").fill_null(-1)), len(values))


def collapse(tables: Tables) -> tuple[Tables, int]:
    """Keep one row for each pair of query and candidate, in the order of the table; also return the number dropped.

    Of a pair's rows, a liked row wins over a row that was shown and not liked. Among equal labels the latest row wins,
    or, without times, the first row.
    """
    kept = first_of_pairs(tables)
    return keep_rows(tables, kept), len(kept) - int(np.count_nonzero(kept))


def first_of_pairs(tables: Tables) -> NDArray[np.bool_]:
    """Return which rows :func:`collapse` keeps, (R,)."""
    kept = np.ones(len(tables.interactions), dtype=bool)
    for rows in _repeated(tables):
        kept[rows] = False
    return kept


def keep_rows(tables: Tables, kept: NDArray[np.bool_]) -> Tables:
    """Return the tables with some of the interactions, in their order.

    Args:
        tables: R interactions.
        kept: (R,) which of them stay.
    """
    if kept.all():
        return tables
    if len(kept) <= memory_mapped.BLOCK:
        interactions = tables.interactions.filter(kept)
    else:
        interactions = memory_mapped.frame(tables.interactions.lazy().filter(pl.Series(kept)))
    return Tables(interactions, tables.queries, tables.candidates, tables.keys, tables.display)


def _repeated(tables: Tables) -> Iterator[NDArray[np.int64]]:
    """Yield the rows to drop, one range of queries after the other."""
    import torch

    query, keys, N = tables.query_rows, tables.keys, len(tables.candidates)
    order = [name for name in (keys.label, keys.time) if name is not None]
    offsets = torch.nn.functional.pad(torch.bincount(query, minlength=len(tables.queries)).cumsum(0), (1, 0))
    for rows in memory_mapped.ranges(query, offsets):  # ascending
        pair = query[rows] * N + tables.candidate_rows[rows]
        ordered = pair.sort().values
        if not bool((ordered[1:] == ordered[:-1]).any()):
            continue
        names = {"row": rows.numpy(), "pair": pair.numpy()}
        repeated = pl.DataFrame(names).filter(pl.col("pair").is_duplicated())
        sort_keys = {f"order {i}": tables.interactions[name][repeated["row"]] for i, name in enumerate(order)}
        repeated = repeated.with_columns(**sort_keys)
        if sort_keys:  # stable: rows with equal keys keep the order of the table
            repeated = repeated.sort(list(sort_keys), descending=True, maintain_order=True)
        yield repeated.filter(~repeated["pair"].is_first_distinct())["row"].to_numpy()


def _key_first(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    return frame.select(key, pl.exclude(key))


def _distinct_queries(interactions: pl.DataFrame, key: str, requested: Sequence[str]) -> pl.DataFrame:
    num_queries = interactions[key].n_unique()
    constant = [
        name
        for name in dict.fromkeys(requested)
        if name != key and len(interactions.select(key, name).unique()) == num_queries
    ]
    return interactions.select(key, *constant).unique(key, keep="first", maintain_order=True)


def _distinct_candidates(interactions: pl.DataFrame, key: str, requested: Sequence[str]) -> pl.DataFrame:
    names = [name for name in dict.fromkeys(requested) if name != key]
    rows = interactions.select(key, *names).unique(maintain_order=True)
    checks.no_contradiction(rows, key, names)
    return rows
