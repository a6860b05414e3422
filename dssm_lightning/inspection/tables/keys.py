"""Which columns are the ids of queries and candidates: by names, and by the ids that two tables share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from dssm_lightning.inspection.tables import words
from dssm_lightning.inspection.tables.kinds import Column
from dssm_lightning.inspection.tables.loading import Table
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

Side = Literal["query", "candidate"]
_NOUNS: dict[Side, Mapping[str, float]] = {"query": words.QUERY, "candidate": words.CANDIDATE}
_OTHER: dict[Side, Side] = {"query": "candidate", "candidate": "query"}
_MEASURES = {
    *("price", "age", "count", "year", "quantity", "amount", "cost", "total", "sum", "mean", "length", "size", "rank"),
    *("position", "weight", "height", "duration", "income", "salary", "latitude", "longitude", "lat", "lon", "percent"),
    *("discount", "stock", "views", "clicks", "probability", "seconds", "minutes", "hour", "month", "temperature"),
}
_NOT_A_KEY = words.RATING | words.GRADE | words.FOLD | words.WEIGHT | _MEASURES | {"label", "event", "action", "type"}


@dataclass(frozen=True)
class Key:
    """The columns that hold one side's ids: of the interactions, and of the side's own table."""

    name: str
    other: str | None = None
    overlap: float = 1.0
    """The share of the interactions' ids that the table has."""


def ids_of(column: pl.Series) -> pl.Series:
    """Return ids as text, such that 7, 7.0 and "7" are one id.

    Example:
        >>> ids_of(pl.Series([7.0, 8.0, float("nan")])).to_list()
        ['7', '8', None]
    """
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    column = column.fill_nan(None) if column.dtype.is_float() else column
    texts = column.cast(pl.String).str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")
    found: pl.Series = texts.set((texts == "").fill_null(False), None)
    return found


def find_keys(
    events: Table, queries: Table | None, candidates: Table | None, query_id: str | None, candidate_id: str | None
) -> tuple[Key, Key]:
    """Return the keys of both sides.

    Args:
        events: the interactions.
        queries: the table of queries.
        candidates: the table of candidates.
        query_id: the column that the user named.
        candidate_id: the same.

    Raises:
        UserError: no column can be the id; no ids that the two tables share; a named column that is not there.
    """
    for option, name in (("query_id", query_id), ("candidate_id", candidate_id)):
        require_column(option, name, events)
    found: dict[Side, Key] = {}
    tables: dict[Side, Table | None] = {"candidate": candidates, "query": queries}
    given: dict[Side, str | None] = {"candidate": candidate_id, "query": query_id}
    for side in sorted(tables, key=lambda each: (given[each] is None, tables[each] is None)):
        taken = {key.name for key in found.values()} | {
            name for other, name in given.items() if name is not None and other != side
        }
        table = tables[side]
        found[side] = (
            _alone(events, side, given[side], taken)
            if table is None
            else _shared(events, table, side, given[side], taken)
        )
    return found["query"], found["candidate"]


def require_column(option: str, name: str | None, events: Table) -> None:
    """Refuse a name that is no column of the interactions.

    Raises:
        UserError: no such column. The message lists the columns.
    """
    if name is not None and name not in events.columns:
        raise UserError(
            f"{option} is {name!r}; {events.shown} has {', '.join(events.columns)}{did_you_mean(name, events.columns)}"
        )


# -- with a table ------------------------------------------------------------------------------------------------------


def _shared(events: Table, table: Table, side: Side, given: str | None, taken: set[str]) -> Key:
    own_names = [given] if given is not None else [name for name in events.columns if name not in taken]
    own = {name: ids for name in own_names if (ids := _distinct(events, name)) is not None}
    others = {name: ids for name in table.columns if (ids := _distinct(table, name)) is not None}
    best: tuple[float, Key] | None = None
    for name, ids in own.items():
        for other, known in others.items():
            if words.joined(name) != words.joined(other) and given is None and _strength(name, side) <= -2.5:
                continue  # the ids of the other side, which are numbers from 1 on, too
            score, overlap = _score(events, table, side, (name, other), ids, known)
            if overlap > 0 and (best is None or score > best[0]):
                best = (score, Key(name, other, overlap))
    if best is None:
        raise _nothing_shared(events, table, side, own, others)
    return best[1]


def _distinct(table: Table, name: str) -> pl.Series | None:
    """Return the distinct ids of a column; None if it can be no id."""
    column = table.columns[name].profile
    if column.kind in ("empty", "vector", "categories", "time") or (column.kind == "number" and not column.is_whole):
        return None
    return ids_of(table.frame[name]).drop_nulls().unique()


def _score(
    events: Table, table: Table, side: Side, names: tuple[str, str], ids: pl.Series, known: pl.Series
) -> tuple[float, float]:
    """Return how well two columns fit, and the share of the interactions' ids that the table has."""
    own, other = names
    shared = int(ids.is_in(known.implode()).sum()) if len(ids) and len(known) else 0
    overlap = shared / max(1, len(ids))
    unique = len(known) / max(1, len(table.frame))
    score = 6 * overlap + shared / max(1, len(known)) + 1.5 * unique
    score += (
        2.0 * (words.joined(own) == words.joined(other)) + 0.5 * _strength(own, side) + 0.25 * _strength(other, side)
    )
    score -= 3.0 * (_is_no_key(own, events.columns[own]) or _is_no_key(other, table.columns[other]))
    return score - 1.0 * (unique < 0.5), overlap


def _strength(name: str, side: Side) -> float:
    """Return how surely a name means the id of a side; below 0 for that of the other side."""
    own, other = words.weight_of(name, _NOUNS[side]), words.weight_of(name, _NOUNS[_OTHER[side]])
    if other > own:
        return -other
    return own + (1.5 if own and words.is_key(name) else 0.5 if words.is_key(name) else 0.0)


def _is_no_key(name: str, column: Column) -> bool:
    if words.is_key(name) or _is_noun(name):
        return False
    profile = column.profile
    few = profile.kind in ("number", "truth") and (profile.greatest or 0) <= 10 and profile.rows > 20
    return few or profile.kind in ("truth", "constant") or words.has_word(name, _NOT_A_KEY)


def _is_noun(name: str) -> bool:
    """Return whether a name means a query or a candidate, without a word of another part."""
    noun = max(words.weight_of(name, words.QUERY), words.weight_of(name, words.CANDIDATE)) >= 2.5
    return noun and not words.has_word(name, _NOT_A_KEY)


def _nothing_shared(
    events: Table, table: Table, side: Side, own: Mapping[str, pl.Series], others: Mapping[str, pl.Series]
) -> UserError:
    def likeliest(found: Mapping[str, pl.Series]) -> tuple[str, object]:
        name = max(found, key=lambda each: _strength(each, side))
        return name, found[name].sort()[0] if len(found[name]) else None

    if not own or not others:
        empty = events if not own else table
        return UserError(f"{empty.shown}: no column can be the {side}'s id; it has {', '.join(empty.columns)}")
    name, example = likeliest(own)
    other, known = likeliest(others)
    return UserError(
        f"{table.shown} has no id of the interactions: column {name!r} of the interactions has {example!r}, column "
        f"{other!r} of {table.role} has {known!r}; write the ids of both in the same way, or name the interactions' "
        f"column by {side}_id"
    )


# -- without a table ---------------------------------------------------------------------------------------------------


def _alone(events: Table, side: Side, given: str | None, taken: set[str]) -> Key:
    if given is not None:
        return Key(given)
    possible = {name: column for name, column in events.columns.items() if name not in taken and _can_be(name, column)}
    named = {name: _strength(name, side) * (1 - possible[name].profile.share_missing) for name in possible}
    best = max(named, key=lambda name: (named[name], possible[name].profile.distinct), default=None)
    if best is not None and named[best] >= 2:
        return Key(best)
    rest = [name for name in possible if named[name] > -2 and not _counts_rows(name, possible[name])]
    if side == "candidate" and len(rest) > 1 and not taken:
        rest = rest[1:]  # the query comes first
    if not rest:
        raise _no_key(events, side)
    shown = any(events.columns[name].profile.kind == "picture" for name in taken)
    wanted = "picture" if side == "candidate" else "text" if shown else None  # pictures are found by their names
    first = [name for name in rest if possible[name].profile.kind == wanted]
    return Key([*first, *rest][0])


def _can_be(name: str, column: Column) -> bool:
    profile = column.profile
    if profile.kind in ("category", "text", "picture"):
        return not words.has_word(name, _NOT_A_KEY) or words.is_key(name)
    if profile.kind in ("constant", "truth"):
        return _is_noun(name)
    whole = profile.kind == "number" and profile.is_whole and (profile.least or 0) >= 0
    return whole and not _is_no_key(name, column) and (_is_noun(name) or profile.distinct < profile.rows)


def _counts_rows(name: str, column: Column) -> bool:
    """Return whether a column has the numbers of rows."""
    every = column.profile.distinct == column.profile.rows and column.profile.kind != "text"
    return every and set(words.words_of(name)) <= {"id", "index", "row", "key", "no", "nr", "idx", "unnamed", "column"}


def _no_key(events: Table, side: Side) -> UserError:
    kinds = ", ".join(f"{name} ({column.profile.kind})" for name, column in events.columns.items())
    return UserError(
        f"{events.shown}: no column is the {side}'s id or text; it has {kinds}; name the column by {side}_id"
    )
