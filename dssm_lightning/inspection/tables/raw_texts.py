"""Tables of raw texts without ids: a query, a text that is right for it, and perhaps texts that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from dssm_lightning.data.sources.triplets import is_triplets, text_tables
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.inspection.tables import words
from dssm_lightning.inspection.tables.loading import Table, columns_of

_QUERIES = ("query", "question", "anchor", "q", "prompt", "search", "sentence1")
_POSITIVES = ("positivedoc", "positive", "positives", "pos", "positivedocs", "positivepassages", "positivepassage")
_NEGATIVES = ("negativedocs", "negatives", "neg", "negative", "hardnegatives", "negativepassages", "negativedoc")


def names_of_texts(events: Table) -> dict[str, str] | None:
    """Return the new names for `Files(rename=…)` if a table has raw texts; None if it has none.

    Example:
        >>> from dssm_lightning.inspection.tables.loading import table_of_frame
        >>> pairs = pl.DataFrame({"anchor": ["red shoe", "hat"], "positive": ["Shoe, red", "Straw hat"]})
        >>> names_of_texts(table_of_frame(pairs, "interactions"))
        {'anchor': 'query', 'positive': 'positive_doc'}
    """
    found: dict[str, str] = {}
    for known, new in ((_QUERIES, "query"), (_POSITIVES, "positive_doc"), (_NEGATIVES, "negative_docs")):
        name = next((name for each in known for name in events.columns if words.joined(name) == each), None)
        if name is not None and _fits(events, name, new):
            found[name] = new
    if not {"query", "positive_doc"} <= set(found.values()) or any(words.is_key(name) for name in events.columns):
        return None
    return {old: new for old, new in found.items() if old != new}


def _fits(events: Table, name: str, new: str) -> bool:
    dtype = events.frame.schema[name]
    lists = dtype == pl.List(pl.String)
    return lists if new == "negative_docs" else dtype == pl.String or (lists and new == "positive_doc")


def with_texts_as_ids(events: Table, rename: Mapping[str, str]) -> tuple[Table, int] | None:
    """Return the interactions as `Files` makes them, with the columns query and doc, and the number of candidates.

    None: the table, with its new names, has no raw texts.
    """
    table = events.renamed(rename)
    if not is_triplets(table.frame, "query_id", "candidate_id"):
        return None
    raw = text_tables(table.frame, ColumnRoles("query", "doc"), ())
    assert raw.candidates is not None
    note = [f"texts are counted in the first {len(table.frame):,} of {table.rows:,} rows"] if table.is_sample else []
    found = columns_of(table, raw.interactions, len(raw.interactions))
    return replace(found, notes=[*found.notes, *note]), len(raw.candidates)
