"""Histories: how long they are where the model trains and where it is measured, and what is cut off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.data.grouped_events import Timeline
from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.features import History, LikedBy
from dssm_lightning.inspection.doctor.findings import Finding, percent, yaml_line
from dssm_lightning.inspection.doctor.settings import feature_line, split_line, without_line
from dssm_lightning.inspection.doctor.subject import IntArray, Subject


def check_histories(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with features that are assembled from training rows."""
    for feature in subject.assembled("query"):
        if isinstance(feature, History):
            yield from _history(subject, feature)
    for feature in subject.assembled("candidate"):
        if isinstance(feature, LikedBy):
            yield from _liked_by(subject, feature)


def _history(subject: Subject, feature: History) -> Iterator[Finding]:
    timeline = subject.data.assembler.histories[feature.name].timeline
    trained = lengths_of(subject, feature, timeline, subject.rows[TRAIN], training=True)
    measured = lengths_of(subject, feature, timeline, subject.held_out, training=False)
    where, name = f"query.{feature.name}", subject.held_out_name
    if not len(trained):
        return
    empty, empty_later = float((trained == 0).mean()), float((measured == 0).mean()) if len(measured) else 0.0
    limit = feature.max_length
    cut = 0.0 if limit is None else float((trained > limit).mean())
    found = (
        f"{np.median(trained):,.0f} entries in the median, at most {trained.max():,}; {percent(empty)} are empty in "
    )
    found += f"training, {percent(empty_later)} in {name}; {percent(cut)} are cut off by max_length"
    yield Finding("note", "history", where, found)
    if empty_later > 0.5 and empty_later > empty + 0.1:
        problem = f"{percent(empty_later)} of the {name} rows have an empty history ({percent(empty)} in training): "
        problem += f"{subject.split} leaves them no training rows"
        change = split_line("PerQuery", test=0.1, validation=0.1)
        yield Finding("warning", "history-empty", where, problem, change)
    elif empty > 0.5 and feature.events == "liked":
        problem = f"{percent(empty)} of the training rows have an empty history"
        alone = len(subject.prepared.schemas.query.names) == 1
        change = without_line(subject.sections, "query", feature.name)
        yield Finding("warning" if alone else "note", "history-empty", where, problem, change)
    if cut > 0.3:
        longest = int(np.quantile(trained, 0.95))
        problem = f"{percent(cut)} of the histories are longer than max_length {limit}; 95 % have at most {longest:,}"
        change = feature_line(subject.sections, "query", feature.name, max_length=longest)
        yield Finding("note", "history-cut", where, problem, change)


def lengths_of(
    subject: Subject, feature: History, timeline: Timeline, rows: IntArray, *, training: bool
) -> NDArray[np.int64]:
    """Return how many entries the history of each event (n,) has before ``max_length`` cuts it."""
    by_query = not training and subject.data.evaluate == "query"
    if feature.order == "time" and not by_query:
        found: NDArray[np.int64] = timeline.before.numpy()[rows]
        return found
    lengths = timeline.candidates.lengths.numpy()[subject.query[rows]]
    own = 1 if training and feature.events != "shown" else 0  # the target itself is left out
    return np.asarray(lengths - own)


def _liked_by(subject: Subject, feature: LikedBy) -> Iterator[Finding]:
    likes = np.bincount(subject.candidate[subject.rows[TRAIN]], minlength=len(subject.prepared.candidates))
    measured = likes[subject.candidate[subject.held_out]]
    if len(measured) and (share := float((measured == 0).mean())) > 0.5:
        found = (
            f"no training query likes the candidate of {percent(share)} of the {subject.held_out_name} rows, so that "
        )
        found += "the feature is empty where it is measured"
        change = without_line(subject.sections, "candidate", feature.name)
        if subject.split == "ColdCandidates":
            change = yaml_line("data.split.class_path", "PerQuery")
        yield Finding("warning", "liked-by-empty", f"candidate.{feature.name}", found, change)
