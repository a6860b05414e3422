"""Tables with the names that settings use, and the columns of the ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from dssm_lightning.inspection.tables import picture_tables
from dssm_lightning.inspection.tables.counts import shared_words
from dssm_lightning.inspection.tables.keys import Key, find_keys, ids_of
from dssm_lightning.inspection.tables.loading import Table
from dssm_lightning.inspection.tables.names import id_types, new_names
from dssm_lightning.inspection.tables.raw_texts import names_of_texts, with_texts_as_ids
from dssm_lightning.utils.errors import UserError


@dataclass(frozen=True)
class Tables:
    """The tables that were read."""

    events: Table
    queries: Table | None
    candidates: Table | None

    @property
    def own(self) -> dict[str, Table]:
        """The tables of queries and candidates that there are."""
        named = {"queries": self.queries, "candidates": self.candidates}
        return {role: table for role, table in named.items() if table is not None}


@dataclass
class Found:
    """What is known of tables before they are counted."""

    tables: Tables
    query: Key
    candidate: Key
    rename: Mapping[str, str]
    dtypes: dict[str, str] = field(default_factory=dict)
    corpus: int | None = None
    notes: list[str] = field(default_factory=list)


def find(tables: Tables, query_id: str | None, candidate_id: str | None) -> Found:
    """Return the tables with the names that settings use, and the columns of the ids.

    Args:
        tables: the tables.
        query_id: the column that the user named.
        candidate_id: the same.

    Raises:
        UserError: no column can be the id of a side, or one column is that of both.
    """
    if tables.events.kind == "pictures":
        events, name, picture = picture_tables.as_interactions(tables.events)
        return Found(replace(tables, events=events), Key(name), Key(picture), {})
    if not tables.own and query_id is None and candidate_id is None:
        rename = names_of_texts(tables.events)
        texts = None if rename is None else with_texts_as_ids(tables.events, rename)
        if texts is not None and rename is not None:
            return Found(replace(tables, events=texts[0]), Key("query"), Key("doc"), rename, {}, texts[1])
    query, candidate = find_keys(tables.events, tables.queries, tables.candidates, query_id, candidate_id)
    if query.name == candidate.name:
        raise UserError(f"query_id and candidate_id are both {query.name!r}; they must be two columns")
    rename = new_names(tables.events, tables.own, {"queries": query, "candidates": candidate})
    dtypes = id_types(tables.events, tables.own, {"queries": query, "candidates": candidate})
    tables = Tables(
        tables.events.renamed(_of(rename, "interactions")),
        None if tables.queries is None else tables.queries.renamed(_of(rename, "queries")),
        None if tables.candidates is None else tables.candidates.renamed(_of(rename, "candidates")),
    )
    if tables.candidates is not None and tables.candidates.kind == "pictures":
        tables = replace(tables, candidates=picture_tables.as_candidates(tables.candidates, candidate.name))
    every = [tables.events, *tables.own.values()]
    dtypes |= {name: each.dtype for table in every for name, each in table.columns.items() if each.dtype is not None}
    return Found(tables, query, candidate, rename, dtypes)


def _of(rename: Mapping[str, str], role: str) -> dict[str, str]:
    return {old.removeprefix(f"{role}."): new for old, new in rename.items() if old.startswith(f"{role}.")}


def shared_texts(found: Found, liked: pl.DataFrame) -> float:
    """Return the share of liked pairs whose texts share a word."""
    texts = [
        _texts(found.tables.events, table, key, side)
        for table, key, side in (
            (found.tables.queries, found.query.name, "query"),
            (found.tables.candidates, found.candidate.name, "candidate"),
        )
    ]
    return shared_words(liked, *texts) if all(texts) else 0.0


def _texts(events: Table, own: Table | None, key: str, side: str) -> dict[str, str]:
    """Return the texts of a side, joined, by id."""
    table = own or events
    names = [
        name
        for name, column in table.columns.items()
        if column.profile.kind == "text" and (own is not None or column.profile.of == side)
    ]
    if not names and own is not None and side == "query":
        return _texts(events, None, key, side)
    frame: Any = table.frame.select(
        ids_of(table.frame[key]).alias("id"), *(pl.col(name).alias(f"t{n}") for n, name in enumerate(names))
    )
    rows = frame.unique("id", keep="first").iter_rows() if names else ()
    return {row[0]: " ".join(str(text)[:500] for text in row[1:] if text) for row in rows if row[0] is not None}
