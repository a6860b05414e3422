"""The columns of an event beside its ids: time, weight, and the fold that authors published."""

from __future__ import annotations

import datetime
from collections.abc import Collection

import polars as pl

from dssm_lightning.inspection.tables import words
from dssm_lightning.inspection.tables.keys import Key, ids_of, require_column
from dssm_lightning.inspection.tables.loading import Table
from dssm_lightning.utils.errors import UserError

_LARGEST_WEIGHT = 100
_MOST_MISSING = 0.5
"""A time that more rows lack is not used: these rows would be left out."""


def find_time(events: Table, keys: Collection[Key], given: str | None) -> tuple[str | None, list[str]]:
    """Return the column of the event's time, and notes.

    Of several times the one with the clearest name is taken. A time that each candidate, or each query, has once
    describes it, such as the day of a release, and is no event.

    Raises:
        UserError: two columns with equally clear names, whose order differs; a named column that is no time.
    """
    require_column("time", given, events)
    if given is not None:
        profile = events.columns[given].profile
        if profile.kind not in ("time", "number"):
            raise UserError(
                f"time is {given!r}, which holds {profile.kind}, such as {_example(events, given)}; no times"
            )
        return given, _future(events, given)
    names = [name for name, column in events.columns.items() if column.profile.kind == "time"]
    names = [name for name in names if name not in {key.name for key in keys}]
    notes = [
        f"{name} describes {side}, so that it is not the time of the event"
        for name in names
        if (side := side_of(events, name, keys))
    ]
    names = [name for name in names if not side_of(events, name, keys)]
    gaps = {name: events.columns[name].profile.share_missing for name in names}
    notes += [f"{name} is missing in {gap:.0%} of the rows: not used" for name, gap in gaps.items() if _is_rare(gap)]
    names = [name for name in names if not _is_rare(gaps[name])]
    if not names:
        return None, notes
    ranked = sorted(names, key=lambda name: -_clearness(name))
    if len(ranked) > 1 and _clearness(ranked[0]) == _clearness(ranked[1]) and not _same_order(events, *ranked[:2]):
        raise UserError(
            f"{events.shown}: columns {ranked[0]!r} ({_example(events, ranked[0])}) and {ranked[1]!r} "
            f"({_example(events, ranked[1])}) could both be the time of the event; name one by `time`"
        )
    rest = [f"{name} is a time, too; the event's time is {ranked[0]}" for name in ranked[1:]]
    return ranked[0], [*notes, *rest, *_future(events, ranked[0])]


def _is_rare(share_missing: float) -> bool:
    return share_missing > _MOST_MISSING


def _example(events: Table, name: str) -> str:
    examples = events.columns[name].profile.examples
    return examples[0] if examples else "nothing"


def _clearness(name: str) -> float:
    other = bool(words.NOT_EVENTS_TIME & set(words.words_of(name)))
    event = bool({"event", "interaction", "click", "rating", "order", "purchase", "view"} & set(words.words_of(name)))
    return words.weight_of(name, words.TIME) + event - 4 * other


def _same_order(events: Table, first: str, second: str) -> bool:
    """Return whether two columns of times order the events in the same way, as a day and a second do."""
    pair = (
        pl.DataFrame({"a": events.columns[first].values, "b": events.columns[second].values})
        .drop_nulls()
        .sort("a", "b")
    )
    return bool(pair["b"].is_sorted())


def side_of(events: Table, name: str, keys: Collection[Key]) -> str | None:
    """Return the side that a column describes: each of its ids has one value, and ids occur again."""
    if events.columns[name].profile.distinct < 2:
        return None
    for key in keys:
        pairs = pl.DataFrame({"key": ids_of(events.frame[key.name]), "value": events.columns[name].values})
        ids = pairs["key"].n_unique()
        if len(pairs) >= 1.5 * ids and ids > 1 and pairs.unique().height == ids:
            return key.name
    return None


def _future(events: Table, name: str) -> list[str]:
    values = events.columns[name].values
    if events.columns[name].profile.kind != "time":
        return []
    later = int((values > datetime.datetime.now(datetime.timezone.utc).timestamp() + 86_400).sum())
    return [f"{name}: {later:,} of {len(values):,} times are later than today"] if later else []


def find_weight(events: Table, taken: Collection[str | None]) -> tuple[str | None, list[str]]:
    """Return a column of weights, and notes: its name says so, and its numbers are neither negative nor large.

    Numbers such as 14,000 plays count something: as weights, a few rows would hide all others.
    """
    for name, column in events.columns.items():
        profile = column.profile
        positive = profile.kind in ("number", "truth") and not profile.missing and (profile.least or 0) >= 0
        if name not in taken and positive and words.has_word(name, words.WEIGHT):
            if (profile.greatest or 0) <= _LARGEST_WEIGHT:
                return name, []
            return None, [f"{name} goes up to {profile.greatest:g}: it counts something, and is not used as a weight"]
    return None, []


def find_fold(events: Table, queries: Table | None) -> tuple[str | None, list[str]]:
    """Return a column of published folds if `PublishedFold` reads its values, and notes.

    Example:
        >>> from dssm_lightning.inspection.tables.loading import table_of_frame
        >>> events = table_of_frame(pl.DataFrame({"user": [1, 2], "split": ["train", "test"]}), "interactions")
        >>> find_fold(events, None)[0]
        'split'
    """
    for table in (events, queries):
        for name, column in {} if table is None else table.columns.items():
            if column.profile.kind not in ("category", "text", "categories") or not 1 < column.profile.distinct <= 4:
                continue
            values = set(table.frame[name].drop_nulls().cast(pl.String).unique()) if table is not None else set()
            if not {value.strip().lower() for value in values} <= words.FOLDS.keys():
                continue
            if {"train", "test"} <= values <= {"train", "validation", "test"} and not column.profile.missing:
                return name, [f"{name} has published folds: {', '.join(sorted(values))}"]
            note = f"{name} has folds {', '.join(sorted(values))}; write train, validation and test to split by them"
            return None, [note]
    return None, []
