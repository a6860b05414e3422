"""Which side a column of the interactions describes: the query, the candidate, or the event."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import polars as pl

from dssm_lightning.inspection.profile import Kind
from dssm_lightning.inspection.tables import words
from dssm_lightning.inspection.tables.keys import ids_of
from dssm_lightning.inspection.tables.loading import Table

Of = Literal["query", "candidate", "event"]


def with_sides(events: Table, query_id: str, candidate_id: str, parts: Collection[str | None]) -> Table:
    """Return the interactions with the side of each column.

    A column describes a side if each id has one value. Where ids do not occur again that says nothing: the name, or
    the nearest id before it, decides.

    Example:
        >>> from dssm_lightning.inspection.tables.loading import table_of_frame
        >>> likes = pl.DataFrame({"user": ["a", "a", "b"], "age": [7, 7, 8], "film": [1, 2, 1], "hour": [3, 4, 5]})
        >>> table = with_sides(table_of_frame(likes, "interactions"), "user", "film", [])
        >>> [column.profile.of for column in table.columns.values()]
        ['query', 'query', 'candidate', 'event']
    """
    own = {"query": ids_of(events.frame[query_id]), "candidate": ids_of(events.frame[candidate_id])}
    counts = {side: ids.n_unique() for side, ids in own.items()}
    found = {}
    for name, column in events.columns.items():
        of: Of = "event"
        if name in (query_id, candidate_id):
            of = "query" if name == query_id else "candidate"
        elif name not in parts and column.profile.kind not in ("empty", "constant"):
            values = events.frame[name]
            one = {side: _pairs(ids, values) == counts[side] for side, ids in own.items()}
            again = {side: counts[side] < len(values) for side in own}
            of = _of(events, name, (query_id, candidate_id), one, again)
        is_number = name in (query_id, candidate_id) and column.profile.kind in ("number", "truth", "constant")
        kind: Kind = "category" if is_number else column.profile.kind  # ids are compared, not measured
        found[name] = replace(column, profile=replace(column.profile, of=of, kind=kind))
    return replace(events, columns=found)


def _pairs(ids: pl.Series, values: pl.Series) -> int:
    frame = pl.DataFrame({"id": ids, "value": values.hash() if values.dtype.is_nested() else values})
    return frame.unique().height


def _of(events: Table, name: str, keys: tuple[str, str], one: dict[str, bool], again: dict[str, bool]) -> Of:
    if not any(one.values()):
        return "event"
    if one["query"] != one["candidate"]:
        side: Of = "query" if one["query"] else "candidate"
        told_apart = again[side] or events.columns[name].profile.kind not in ("number", "time", "truth")
        return side if told_apart else "event"
    named = words.weight_of(name, words.QUERY) - words.weight_of(name, words.CANDIDATE)
    if again["query"] != again["candidate"] and not named:
        return "query" if again["query"] else "candidate"
    return _by_name(list(events.columns), name, keys)


def _by_name(names: list[str], name: str, keys: tuple[str, str]) -> Of:
    query, candidate = words.weight_of(name, words.QUERY), words.weight_of(name, words.CANDIDATE)
    shared = [bool(set(words.words_of(name)) & set(words.words_of(key)) - words.KEYS) for key in keys]
    if shared[0] != shared[1]:
        return "query" if shared[0] else "candidate"
    if query != candidate:
        return "query" if query > candidate else "candidate"
    before = [each for each in names[: names.index(name)] if each in keys]
    return "candidate" if before and before[-1] == keys[1] else "query"
