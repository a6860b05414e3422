"""The three raw tables that a source yields, and the checks that they pass before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.utils import memory_mapped


@dataclass(frozen=True)
class RawTables:
    """What a source yields: who liked what, and what is known of both. Not checked yet."""

    interactions: pl.DataFrame
    """One row for each event: the key columns, and per-event columns (a timestamp, a fold)."""
    queries: pl.DataFrame | None
    """One row for each query; None = the distinct queries of ``interactions``."""
    candidates: pl.DataFrame | None
    """The corpus, one row for each candidate; None = the distinct candidates of ``interactions``."""
    keys: ColumnRoles
    display: tuple[str, ...] = ()
    """Columns of ``candidates`` that people want to see beside an answer (a name, a title)."""

    def resolve(self, query_columns: Sequence[str], candidate_columns: Sequence[str]) -> Tables:
        """Complete and checked tables, in which every column that the features read can be found.

        A column of the query side stands in ``queries`` (one value for each query) or in ``interactions`` (one for
        each event). Where the source has no query table, one is made of those requested columns that do not vary
        within a query; the others stay per-event columns. Where it has no candidate table, one is made of the requested
        columns, which must not vary within a candidate.

        Args:
            query_columns: columns that features of the query side read.
            candidate_columns: columns that features of the candidate side read.

        Raises:
            ValueError: a column that is missing, stands in both tables or would tell the answer; an empty table; ids
                that are null, repeated, unknown or of different types; a label, weight, time or grade that is none;
                candidate rows that contradict each other.
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
            "interactions": {name: value for name, value in vars(keys).items() if value is not None},
            "queries": {"query_id": keys.query_id},
            "candidates": {"candidate_id": keys.candidate_id},
        }
        for table, frame in self._named():
            for name, column in own[table].items():
                checks.columns(frame, table, [column], f"{name} column")

    def _aligned(self) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
        """The tables with ids of one type on both sides."""
        interactions, query_id, candidate_id = self.interactions, self.keys.query_id, self.keys.candidate_id
        interactions, queries = checks.align_ids(interactions, self.queries, "queries", query_id)
        interactions, candidates = checks.align_ids(interactions, self.candidates, "candidates", candidate_id)
        return interactions, queries, candidates


@dataclass(frozen=True)
class Tables(RawTables):
    """Raw tables that are complete: the key column first in ``queries`` and ``candidates``, ids distinct and known."""

    queries: pl.DataFrame
    candidates: pl.DataFrame

    @cached_property
    def query_rows(self) -> Tensor:
        """(R,) int64: the row of ``queries`` that each interaction names."""
        return positions(self.interactions[self.keys.query_id], self.queries[self.keys.query_id])

    @cached_property
    def candidate_rows(self) -> Tensor:
        """(R,) int64: the row of ``candidates``, likewise."""
        return positions(self.interactions[self.keys.candidate_id], self.candidates[self.keys.candidate_id])


def positions(values: pl.Series, ids: pl.Series) -> Tensor:
    """(n,) int64: the row of each value among the distinct ids, −1 for a value that is none of them."""
    rows = pl.LazyFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    found = pl.LazyFrame({"id": values}).join(rows, on="id", how="left", maintain_order="left")
    return memory_mapped.evaluated(found.select(pl.col("row").fill_null(-1)), len(values))


def collapse(tables: Tables) -> tuple[Tables, int]:
    """One row for each (query, candidate) pair, in the order of the table; and how many rows were dropped.

    Of a pair's rows the latest stays where there is a time, else the first; a liked one wins over one that was shown
    and not liked.
    """
    kept = np.ones(len(tables.interactions), dtype=bool)
    for rows in _repeated(tables):
        kept[rows] = False
    dropped = len(kept) - int(np.count_nonzero(kept))
    if not dropped:
        return tables, 0
    if len(kept) <= memory_mapped.BLOCK:
        interactions = tables.interactions.filter(kept)
    else:
        interactions = memory_mapped.frame(tables.interactions.lazy().filter(pl.Series(kept)))
    return Tables(interactions, tables.queries, tables.candidates, tables.keys, tables.display), dropped


def _repeated(tables: Tables) -> Iterator[NDArray[np.int64]]:
    """Rows that say again what another one says, of one range of queries after another."""
    query, keys, N = tables.query_rows, tables.keys, len(tables.candidates)
    order = [name for name in (keys.label, keys.time) if name is not None]
    offsets = torch.nn.functional.pad(torch.bincount(query, minlength=len(tables.queries)).cumsum(0), (1, 0))
    for rows in memory_mapped.ranges(query, offsets):  # ascending
        pair = query[rows] * N + tables.candidate_rows[rows]
        ordered = pair.sort().values
        if not bool((ordered[1:] == ordered[:-1]).any()):
            continue
        names = {"row": rows.numpy(), "pair": pair.numpy()}
        several = pl.DataFrame(names).filter(pl.col("pair").is_duplicated())
        ranks = {f"order {i}": tables.interactions[name][several["row"]] for i, name in enumerate(order)}
        several = several.with_columns(**ranks)
        if ranks:  # stable: equal ones as in the table
            several = several.sort(list(ranks), descending=True, maintain_order=True)
        yield several.filter(~several["pair"].is_first_distinct())["row"].to_numpy()


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
