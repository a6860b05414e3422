"""Pairs of query and candidate: repeated, contradictory, with labels or weights that teach nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.inspection.doctor.findings import Finding, percent, yaml_line
from dssm_lightning.inspection.doctor.settings import source_line
from dssm_lightning.inspection.doctor.subject import Subject


def check_pairs(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the rows of the interactions."""
    yield from _repeated(subject)
    yield from _contradictions(subject)
    yield from _labels(subject)
    yield from _weights(subject)


def _repeated(subject: Subject) -> Iterator[Finding]:
    raw, keys = subject.raw, subject.raw.keys
    events = raw.interactions
    pairs = events.select(keys.query_id, keys.candidate_id).n_unique()
    dropped = len(events) - pairs
    if not dropped:
        return
    plain = [name for name, dtype in events.schema.items() if not dtype.is_nested() and dtype != pl.Object]
    equal = len(events) - events.select(plain).n_unique()
    change: str | None
    where = "data.source.interactions"
    if equal > 0.02 * len(events):
        found = f"{equal:,} of {len(events):,} rows equal an earlier row in every column: were files read twice?"
        now = subject.setting("data.source.init_args.interactions", "…")
        change = source_line("interactions", now, "without the repeated rows")
        yield Finding("warning", "repeated-rows", where, found, change)
        return
    found = f"{dropped:,} of {len(events):,} rows name a pair again, and are dropped"
    rare = keys.time is not None or dropped < 0.01 * len(events)
    change = None if rare else source_line("time", "timestamp", "the column of the time: the latest row stays")
    yield Finding("note", "repeated-pairs", where, found, change)


def _contradictions(subject: Subject) -> Iterator[Finding]:
    raw, keys = subject.raw, subject.raw.keys
    if keys.label is None or keys.objectives:  # a click and a view of one pair are no contradiction
        return
    liked = pl.col(keys.label).cast(pl.Float64) > 0
    both = raw.interactions.group_by(keys.query_id, keys.candidate_id).agg(liked=liked.any(), disliked=(~liked).any())
    count = int((both["liked"] & both["disliked"]).sum())
    if not count:
        return
    share = count / len(both)
    found = f"{count:,} of {len(both):,} pairs ({percent(share)}) are liked in one row and not liked in another; "
    found += "the liked row wins"
    change = source_line("label", keys.label, "one label for each pair")
    yield Finding("warning" if share > 0.01 else "note", "contradictions", "data.source.label", found, change)


def _labels(subject: Subject) -> Iterator[Finding]:
    label, model = subject.interactions.label, subject.model
    if label is None or model is None or subject.prepared.objectives:
        return
    liked = float((label > 0).float().mean())
    where = "data.source.label"
    if liked == 1:
        found = f"all {len(label):,} rows have label 1, so that the labels say nothing"
        yield Finding("warning", "labels-constant", where, found, source_line("label", None, "every row is liked"))
        return
    if liked < 0.001:
        found = f"only {percent(liked)} of {len(label):,} rows are liked"
        yield Finding("warning", "labels-rare", where, found, source_line("positive", "rating >= 3", "what is liked"))
    if not model.loss.uses_labels and not _labels_are_read(subject):
        found = f"{percent(1 - liked)} of the rows are not liked, and {type(model.loss).__name__} leaves them out"
        change = yaml_line("model.loss", "BinaryCrossEntropy", "or no label; docs/choosing.md says when")
        yield Finding("warning", "labels-ignored", "model.loss", found, change)


def _labels_are_read(subject: Subject) -> bool:
    """Whether a history, a sampler or the evaluation uses rows that are not liked."""
    samplers = [] if subject.data.negatives is None else subject.data.negatives.parts
    histories = [getattr(feature, "events", "liked") for feature in subject.assembled("query")]
    monitored = str(subject.setting("checkpoint.monitor", ""))
    return (
        any(type(sampler).__name__ in ("FromShown", "ObservedOnly") for sampler in samplers)
        or any(events != "liked" for events in histories)
        or subject.data.evaluate == "listed"
        or monitored.endswith("/auroc")
    )


def _weights(subject: Subject) -> Iterator[Finding]:
    weight = subject.interactions.weight
    if weight is None:
        return
    own = weight.numpy()[subject.rows[TRAIN]].astype(np.float64)
    where, name = "data.source.weight", subject.tables.keys.weight
    total = own.sum()
    if not total:
        return
    effective = total**2 / (own**2).sum()  # Kish: rows of equal weight that would average as well
    if effective < 0.03 * len(own) and len(own) >= 100:
        found = (
            f"the weights of {len(own):,} rows differ as much as if {effective:,.0f} rows counted: the greatest has "
        )
        found += f"{percent(own.max() / total)} of their sum"
        change = source_line("weight", None, f"or the logarithm of {name!r}")
        yield Finding("warning", "weights", where, found, change)
    elif (zero := float((own == 0).mean())) > 0.5:
        found = f"{percent(zero)} of {len(own):,} training rows have weight 0, and teach nothing"
        yield Finding("warning", "weights", where, found, source_line("weight", None))
