"""Leaks between folds: the same text or pair under another id, and columns that tell the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.features import Bucketized, Categorical, Feature, Numeric
from dssm_lightning.features.raw_columns import as_strings
from dssm_lightning.inspection.doctor.columns import is_missing
from dssm_lightning.inspection.doctor.findings import Finding, Level, percent
from dssm_lightning.inspection.doctor.settings import split_line, without_line
from dssm_lightning.inspection.doctor.subject import IntArray, Subject, sample

SOME = 0.1
"""Share of held-out rows from which a leak changes what is measured, more than another seed does."""


def check_leaks(subject: Subject) -> Iterator[Finding]:
    """Yield what the training rows know of the held-out rows."""
    yield from _texts(subject)
    yield from _pairs(subject)
    for feature in subject.features("query"):
        yield from _answer(subject, feature)
    for feature in subject.features("candidate"):
        yield from _counts(subject, feature)


def _folds(subject: Subject) -> Iterator[tuple[str, IntArray]]:
    for fold, name in ((VALIDATION, "validation"), (TEST, "test")):
        if len(subject.rows[fold]):
            yield name, subject.rows[fold]


def _texts(subject: Subject) -> Iterator[Finding]:
    """Queries that are held out whole, whose text is a training query's under another id."""
    if "query" not in subject.texts:
        return
    trained = np.unique(subject.query[subject.rows[TRAIN]])
    for name, rows in _folds(subject):
        queries = np.unique(subject.query[rows])
        unseen = ~np.isin(queries, trained)
        leaks, equal = (
            unseen & np.isin(codes[queries], codes[trained]) for codes in (subject.texts["query"], subject.descriptions)
        )
        if leaks.any():
            found = (
                f"{int(leaks.sum()):,} of {len(queries):,} {name} queries ({percent(leaks.mean())}) have the text of "
            )
            found += f"a training query under another id, {int(equal.sum()):,} of them with the same other columns"
            level: Level = "warning" if equal.mean() > SOME else "note"
            yield Finding(level, "text-leak", "data.split", found, _split_by_text(subject))
            return


def _split_by_text(subject: Subject) -> str:
    column = subject.prepared.schemas.query.text_columns[0]
    own = subject.split_arguments
    sizes: dict[str, Any] = {name: own[name] if 0 < own.get(name, 0) < 1 else 0.1 for name in ("test", "validation")}
    return split_line("HashedQueries", **sizes, column=column)


def _pairs(subject: Subject) -> Iterator[Finding]:
    """Held-out pairs that are training pairs, by the texts of both sides."""
    if set(subject.texts) != {"query", "candidate"}:
        return
    candidate = subject.texts["candidate"][subject.candidate]
    width = int(candidate.max(initial=0)) + 1
    by_text, by_all = (
        codes[subject.query] * width + candidate for codes in (subject.texts["query"], subject.descriptions)
    )
    train = subject.rows[TRAIN]
    for name, rows in _folds(subject):
        leaks, equal = (np.isin(pair[rows], pair[train]) for pair in (by_text, by_all))
        if leaks.any():
            found = (
                f"{int(leaks.sum()):,} of {len(rows):,} {name} pairs ({percent(leaks.mean())}) are training pairs by "
            )
            found += f"their texts, under other ids; {int(equal.sum()):,} of them have the same other columns"
            level: Level = "warning" if equal.mean() > SOME else "note"
            yield Finding(level, "pair-leak", "data.split", found, _split_by_text(subject))
            return


def _answer(subject: Subject, feature: Feature) -> Iterator[Finding]:
    """A query column that is, or determines, the liked candidate."""
    rows = sample(np.concatenate([subject.rows[TRAIN], subject.held_out]))
    column = subject.column("query", feature)
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        return
    values = as_strings(feature, column).gather(subject.places("query", feature, rows))
    where, change = f"query.{feature.name}", without_line(subject.sections, "query", feature.name)
    equal = _equals_candidate(subject, values, rows)
    if equal is not None:
        name, share = equal
        found = f"in {percent(share)} of the rows the value is the {name!r} of the liked candidate: it tells the answer"
        yield Finding("error", "answer-leak", where, found, change)
        return
    if feature.reads_text or not isinstance(feature, Categorical | Numeric | Bucketized):
        return
    known = values.is_not_null().to_numpy()
    frame = pl.DataFrame({"value": values.filter(known), "candidate": subject.candidate[rows[known]]})
    purity, groups = _purity(frame)
    of_queries = _purity(frame.with_columns(value=pl.Series(subject.query[rows[known]])))[0]
    of_all = _purity(frame.with_columns(value=pl.lit(0)))[0]  # the share of the most popular candidate
    if groups >= 10 and purity > 0.95 and max(of_queries, of_all) < 0.9:
        found = f"the value determines the liked candidate in {percent(purity)} of the rows that share it with others"
        yield Finding("error", "answer-leak", where, found, change)


def _equals_candidate(subject: Subject, values: pl.Series, rows: IntArray) -> tuple[str, float] | None:
    """Return a column of the candidates that most rows repeat, and the share of the rows."""
    table = subject.prepared.candidates
    for name in table.columns:
        dtype = table.schema[name]
        if dtype.is_nested() or dtype in (pl.Object, pl.Binary) or table[name].n_unique() < max(3, 0.5 * len(table)):
            continue
        own = table[name].cast(pl.String).gather(subject.candidate[rows])
        share = int((own == values).fill_null(False).sum()) / max(len(rows), 1)
        if share > 0.9:
            return name, share
    return None


def _purity(frame: pl.DataFrame) -> tuple[float, int]:
    """Return how many rows have the most frequent candidate of their value, among values of several rows, and the
    number of such values. A value whose candidates are all different has a purity near 0."""
    counts = frame.group_by("value", "candidate").len().group_by("value")
    groups = counts.agg(rows=pl.col("len").sum(), most=pl.col("len").max()).filter(pl.col("rows") > 1)
    total = int(groups["rows"].sum())
    return (int(groups["most"].sum()) / total if total else 0.0), len(groups)


def _counts(subject: Subject, feature: Feature) -> Iterator[Finding]:
    """A candidate column that counts likes, those of the held-out rows included."""
    column = subject.column("candidate", feature)
    if not isinstance(feature, Numeric | Bucketized) or feature.source_column == subject.tables.keys.candidate_id:
        return
    numbers = column.cast(pl.Float64, strict=False)
    known = (~is_missing(numbers)).to_numpy()
    values = numbers.fill_null(0).to_numpy()[known]
    everything = np.concatenate([subject.rows[TRAIN], subject.rows[VALIDATION], subject.rows[TEST]])
    if len(everything) == len(subject.rows[TRAIN]) or len(values) < 10:
        return
    all_likes, trained = (
        np.bincount(subject.candidate[rows], minlength=len(known))[known] for rows in (everything, subject.rows[TRAIN])
    )
    of_all, of_training = _correlation(values, all_likes), _correlation(values, trained)
    if of_all > 0.98 and of_all > of_training:
        found = f"the column counts likes, those of the held-out rows included (correlation {of_all:.3f} with all, "
        found += f"{of_training:.3f} with training likes)"
        change = without_line(subject.sections, "candidate", feature.name)
        yield Finding("error", "count-leak", f"candidate.{feature.name}", found, change)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if not (np.ptp(x) and np.ptp(y)):
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
