"""Sizes: the batch against the data, held-out rows, tables against what they hold, parameters against pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.features import Bucketized, Feature, History, LikedBy
from dssm_lightning.inspection.doctor.columns import encoded
from dssm_lightning.inspection.doctor.findings import Finding, Level, percent, yaml_line
from dssm_lightning.inspection.doctor.settings import feature_line
from dssm_lightning.inspection.doctor.subject import SIDES, Subject
from dssm_lightning.models.fusion import Sum
from dssm_lightning.utils.ragged import Ragged

FEW_HELD_OUT = 30
"""Held-out rows below which a metric is mostly chance: one row more is 3 % of it."""


def check_sizes(subject: Subject) -> Iterator[Finding]:
    """Yield sizes that do not fit together."""
    yield from _batch(subject)
    yield from _folds(subject)
    if subject.model is not None:
        yield from _tables(subject)
        yield from _parameters(subject)


def _batch(subject: Subject) -> Iterator[Finding]:
    data = subject.data
    by_query = data.batch_by == "query"
    total = len(np.unique(subject.query[subject.rows[TRAIN]])) if by_query else subject.training_rows
    unit = "training queries" if by_query else "training rows"
    if data.batch_size > total / 2 and total > 4:
        smaller = max(2, 2 ** int(np.log2(max(total / 16, 2))))
        found = f"batch_size is {data.batch_size:,}, and there are {total:,} {unit}: "
        found += f"{-(-total // data.batch_size)} steps in an epoch"
        level: Level = "warning" if data.batch_size >= total else "note"
        change = yaml_line("data.batch_size", smaller)
        yield Finding(level, "batch-size", "data.batch_size", found, change)


def _folds(subject: Subject) -> Iterator[Finding]:
    counts = {fold: len(subject.rows[fold]) for fold in (TRAIN, VALIDATION, TEST)}
    found = f"{counts[TRAIN]:,} liked rows train, {counts[VALIDATION]:,} validate, {counts[TEST]:,} test"
    yield Finding("note", "folds", "data.split", found)
    in_rows = subject.split == "LeaveLastN"
    for fold, name in ((VALIDATION, "validation"), (TEST, "test")):
        change = yaml_line(f"data.split.init_args.{name}", 1 if in_rows else 0.1)
        if not counts[fold] and fold == TEST:
            yield Finding("note", "no-test", "data.split", "no row is left for the test", change)
        elif 0 < counts[fold] < FEW_HELD_OUT:
            found = f"{counts[fold]:,} {name} rows: each is {percent(1 / counts[fold])} of every metric"
            share = 2 if in_rows else 0.2
            change = yaml_line(f"data.split.init_args.{name}", share)
            yield Finding("warning", "few-held-out", "data.split", found, change)
    if in_rows and counts[TEST]:
        queries = len(np.unique(subject.query[subject.rows[TRAIN]]))
        tested = len(np.unique(subject.query[subject.rows[TEST]]))
        if tested < 0.5 * queries:
            found = (
                f"only {tested:,} of {queries:,} queries have rows enough to be tested ({percent(tested / queries)})"
            )
            change = yaml_line(
                "data.split", {"class_path": "RandomRows", "init_args": {"test": 0.1, "validation": 0.1}}
            )
            yield Finding("note", "short-queries", "data.split", found, change)


# -- tables -----------------------------------------------------------------------------------------------------------


class _Held(NamedTuple):
    """The table of a feature, and which of its rows are in use."""

    side: str
    feature: Feature
    table: Tensor
    used: NDArray[np.bool_]  # (rows,)


def _tables(subject: Subject) -> Iterator[Finding]:
    """Tables of hashed values that are mostly empty, or too full; a tied table holds the values of all its features."""
    assert subject.model is not None
    held = []
    for side in SIDES:
        encoders = subject.model.towers[side].encoders
        for feature in subject.features(side):
            rows = getattr(feature, "cardinality", 0)
            table = _table(encoders[feature.name], rows) if feature.name in encoders else None
            if table is not None and rows >= 16:
                held.append(_Held(side, feature, table, _used(subject, side, feature, rows)))
    for each in held:
        yield from _one_table(subject, each, [other for other in held if other.table is each.table])


def _table(encoder: nn.Module, rows: int) -> Tensor | None:
    return next((p for p in encoder.parameters() if p.ndim == 2 and p.shape[0] == rows), None)


def _used(subject: Subject, side: str, feature: Feature, rows: int) -> NDArray[np.bool_]:
    column = encoded(subject, side, feature)
    values = column.values if isinstance(column, Ragged) else column
    return np.bincount(np.asarray(values).ravel(), minlength=rows) > 0


def _one_table(subject: Subject, held: _Held, sharing: list[_Held]) -> Iterator[Finding]:
    """Yield what is wrong with a table; ``sharing`` are all features that read it, which need one and the same size."""
    side, feature, (rows, width) = held.side, held.feature, held.table.shape
    used = int(np.logical_or.reduce([each.used for each in sharing]).sum())
    others = ", ".join(each.feature.name for each in sharing if each is not held)
    tied = f"; it is shared with {others}: all of them must change" if others else ""
    where = f"{side}.{feature.name}"
    setting = "num_embeddings" if getattr(feature, "num_embeddings", None) else "num_buckets"
    hashed = getattr(feature, "num_buckets", None) is not None and not isinstance(feature, Bucketized)
    if (hashed or setting == "num_embeddings") and rows > 8 * used and (rows - used) * width > 100_000:
        enough = None if setting == "num_embeddings" else max(1024, 2 ** int(np.ceil(np.log2(max(4 * used, 2)))))
        found = f"a table of {rows:,} rows for {used:,} values: {(rows - used) * width:,} parameters that nothing reads"
        change = feature_line(subject.sections, side, feature.name, **{setting: enough})
        yield Finding("note", "table-size", where, found + tied, change)
    elif hashed and used > 0.95 * rows:
        found = f"{used:,} of {rows:,} rows are in use, so that most hold several values"
        change = feature_line(subject.sections, side, feature.name, num_buckets=8 * rows)
        yield Finding("warning", "collisions", where, found + tied, change)


def _parameters(subject: Subject) -> Iterator[Finding]:
    model, pairs = subject.model, len(subject.rows[TRAIN])
    assert model is not None
    total = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    per_pair = total / max(pairs, 1)
    found = f"{total:,} parameters for {pairs:,} training pairs, {per_pair:,.0f} for each"
    change = None
    if per_pair > 1000:
        change = yaml_line("model", _narrower(subject), "or fewer rows")
    yield Finding("note", "parameters", "model", found, change)


def _narrower(subject: Subject) -> dict[str, Any]:
    """Return the towers with a narrower largest encoder, and all encoders that must have its width: tied or added."""
    assert subject.model is not None
    _, _, largest = _largest(subject)
    width = int(getattr(largest, "output_dim", 64))
    tables = {id(table) for table in largest.parameters()}
    towers = subject.model.towers
    added = any(isinstance(tower.fusion, Sum) for tower in towers.values())
    made: dict[str, Any] = {}
    for side, tower in towers.items():
        for name, encoder in tower.encoders.items():
            shares = any(id(table) in tables for table in encoder.parameters())
            if shares or (added and getattr(encoder, "output_dim", None) == width):
                entry = {"class_path": type(encoder).__name__, "init_args": {"output_dim": max(16, width // 4)}}
                encoders = made.setdefault(f"{side}_tower", {"init_args": {"encoders": {}}})["init_args"]["encoders"]
                encoders[name] = entry
    return made


def _largest(subject: Subject) -> tuple[str, str, nn.Module]:
    assert subject.model is not None
    encoders = [
        (side, name, encoder)
        for side, tower in subject.model.towers.items()
        for name, encoder in tower.encoders.items()
        if not isinstance(getattr(subject.prepared.schemas, side)[name], History | LikedBy)
    ]
    return max(encoders, key=lambda each: sum(p.numel() for p in each[2].parameters()))
