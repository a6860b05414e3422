"""Time: folds that run backwards, later events of others, and times that order nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.tables.times import UNITS, unit_of
from dssm_lightning.inspection.doctor.findings import Finding, percent
from dssm_lightning.inspection.doctor.settings import feature_line, source_line, split_line
from dssm_lightning.inspection.doctor.subject import Subject, sample

RANDOM = ("RandomRows", "PerQuery", "PublishedFold", "ColdCandidates")
"""Splits that do not look at the time, and may hold out a query's earlier rows."""


def check_times(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the order of events."""
    if subject.interactions.time is None:
        yield from _forgotten(subject)
        return
    yield from _units(subject)
    time = subject.interactions.time.numpy()
    if not np.ptp(time):
        found = f"all {len(time):,} events have the same time, which orders nothing"
        yield Finding("warning", "time-ties", "data.source.time", found, source_line("time", None))
        return
    yield from _ties(subject, time)
    yield from _backwards(subject, time)
    yield from _later_events(subject, time)
    yield from _histories(subject)


def _forgotten(subject: Subject) -> Iterator[Finding]:
    """A column that looks like the time of the events, and is not named as it."""
    events = subject.raw.interactions
    for name, dtype in events.schema.items():
        looks = dtype.is_temporal() and dtype not in (pl.Duration, pl.Time)
        if dtype == pl.String or dtype.is_numeric():
            numbers = events[name].head(1000).cast(pl.Float64, strict=False).drop_nulls()
            looks = len(numbers) > 0 and all(unit_of(number) is not None for number in numbers)
        if looks and name not in (subject.raw.keys.query_id, subject.raw.keys.candidate_id):
            found = f"the column {name!r} looks like the time of the events, and the source does not name it"
            yield Finding("note", "time-unused", "data.source.time", found, source_line("time", name))
            return


def _units(subject: Subject) -> Iterator[Finding]:
    name = subject.tables.keys.time
    assert name is not None
    column = subject.tables.interactions[name]
    if column.dtype.is_temporal():
        return
    numbers = column.cast(pl.Float64, strict=False).drop_nulls()
    if not len(numbers):
        return
    looked = numbers.gather(sample(np.arange(len(numbers)), 5000)).to_list()
    counts = Counter(unit_of(number) or "no unit" for number in looked)
    if len(counts) > 1 and set(counts) & set(UNITS):
        parts = ", ".join(f"{percent(count / len(looked))} {unit}" for unit, count in counts.most_common())
        found = f"the times mix units, so that the order of events is wrong: {parts}"
        yield Finding("error", "time-units", "data.source.time", found, source_line("time", name, "in one unit"))


def _ties(subject: Subject, time: np.ndarray) -> Iterator[Finding]:
    ordered = subject.split in ("LeaveLastN", "ByTime") or any(
        getattr(feature, "order", None) == "time" for feature in subject.assembled("query")
    )
    frame = pl.DataFrame({"query": subject.query, "time": time})
    several = frame.filter(pl.len().over("query") > 1)
    if not ordered or not len(several):
        return
    tied = int(several.select(pl.struct("query", "time").is_duplicated()).to_series().sum()) / len(several)
    if tied > 0.9:
        found = f"{percent(tied)} of the events of a query share their time with another one, so that the order of the "
        found += "file decides what is last"
        change = split_line("PerQuery", **_fractions(subject))
        yield Finding("warning", "time-ties", "data.source.time", found, change)


def _fractions(subject: Subject) -> dict[str, Any]:
    """The sizes of the split as fractions."""
    own = subject.split_arguments
    return {name: own[name] if isinstance(own.get(name), float) else 0.1 for name in ("test", "validation")}


def _backwards(subject: Subject, time: np.ndarray) -> Iterator[Finding]:
    """Held-out rows that are earlier than training rows of their own query."""
    rows, train = subject.held_out, subject.rows[TRAIN]
    if subject.split not in RANDOM or not len(rows):
        return
    latest = np.full(len(subject.prepared.queries), -np.inf)
    np.maximum.at(latest, subject.query[train], time[train])
    share = float((time[rows] < latest[subject.query[rows]]).mean())
    if share > 0.05:
        found = f"{percent(share)} of the {subject.held_out_name} rows are earlier than a training row of their query: "
        found += "the model learns from what came after"
        change = split_line("LeaveLastN", test=1, validation=1)
        yield Finding("note", "time-backwards", "data.split", found, change)


def _later_events(subject: Subject, time: np.ndarray) -> Iterator[Finding]:
    """Training rows of other queries that are later than a held-out row."""
    if subject.split != "LeaveLastN" or not len(subject.held_out):
        return
    train = np.sort(time[subject.rows[TRAIN]])
    later = 1 - np.searchsorted(train, time[subject.held_out], side="right") / max(len(train), 1)
    share = float(later.mean())
    if share > 0.05:
        found = f"a {subject.held_out_name} row has {percent(share)} of the training rows after it: the model learns "
        found += "from later events of others"
        yield Finding("note", "later-events", "data.split", found, split_line("ByTime", **_fractions(subject)))


def _histories(subject: Subject) -> Iterator[Finding]:
    """Histories that see later events of their query, where the held-out rows are the last."""
    for feature in subject.assembled("query"):
        if getattr(feature, "order", None) == "leave_one_out" and subject.split in ("LeaveLastN", "ByTime"):
            found = "in training the history also has later events of its query; where it is measured it has none"
            change = feature_line(subject.sections, "query", feature.name, order="time")
            yield Finding("note", "history-order", f"query.{feature.name}", found, change)
