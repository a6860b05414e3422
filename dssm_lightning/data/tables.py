"""The three raw tables that a source yields, and the checks that they pass before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from dssm_lightning.data import checks


@dataclass(frozen=True)
class Keys:
    """Names of the columns that have a meaning of their own in the interaction table."""

    query_id: str = "query_id"
    """Column of ``interactions`` and ``queries`` that identifies a query."""
    candidate_id: str = "candidate_id"
    """Column of ``interactions`` and ``candidates`` that identifies a candidate."""
    label: str | None = None
    """Column with 1 for liked and 0 for shown and not liked; None = every interaction is a positive."""
    weight: str | None = None
    """Column with a weight, 0 or more, for each interaction; None = all count the same."""
    time: str | None = None
    """Column that orders a query's interactions (a number or a datetime); None = no order is known."""
    grade: str | None = None
    """Column that says how relevant what is liked is, a whole number from 1 on: the gain of NDCG; None = 1."""


@dataclass(frozen=True)
class RawTables:
    """What a source yields: who liked what, and what is known of both. Not checked yet."""

    interactions: pl.DataFrame
    """One row for each event: the key columns, and per-event columns (a timestamp, a fold)."""
    queries: pl.DataFrame | None
    """One row for each query; None = the distinct queries of ``interactions``."""
    candidates: pl.DataFrame | None
    """The corpus, one row for each candidate; None = the distinct candidates of ``interactions``."""
    keys: Keys
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
        for frame, table, key in ((queries, "queries", query_id), (candidates, "candidates", candidate_id)):
            checks.ids_unique(frame, table, key)
            checks.ids_known(interactions, frame, table, key)
        checks.labels(interactions, self.keys.label)
        checks.weights(interactions, self.keys.weight)
        checks.times(interactions, self.keys.time)
        checks.grades(interactions, self.keys.grade, self.keys.label)
        queries, candidates = _key_first(queries, query_id), _key_first(candidates, candidate_id)
        return Tables(interactions, queries, candidates, self.keys, self.display)

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


def collapse(interactions: pl.DataFrame, keys: Keys) -> tuple[pl.DataFrame, int]:
    """One row for each (query, candidate) pair, in the order of the table; and how many rows were dropped.

    Of a pair's rows the latest stays where there is a time, else the first; a liked one wins over one that was shown
    and not liked.
    """
    pair = [keys.query_id, keys.candidate_id]
    if not interactions.select(pair).is_duplicated().any():
        return interactions, 0
    row = "__row"
    order = [name for name in (keys.label, keys.time) if name is not None]
    ranked = interactions.select(*pair, *order).with_row_index(row)
    if order:
        ranked = ranked.sort(order, descending=True, maintain_order=True)  # stable: equal ones as in the table
    kept = ranked.unique(pair, keep="first", maintain_order=True)[row].sort()
    return interactions[kept], len(interactions) - len(kept)


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
