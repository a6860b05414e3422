"""Each declared column: its type, missing values, vocabulary, and the share of unknown values where it is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.features import Categorical, CategoricalList, Feature, Image, Numeric, Words
from dssm_lightning.features.categories import Categories
from dssm_lightning.inspection.doctor.findings import Finding, percent
from dssm_lightning.inspection.doctor.settings import arguments, feature_entry, feature_line, without_line
from dssm_lightning.inspection.doctor.subject import SIDES, IntArray, Subject, sample
from dssm_lightning.utils.ragged import Column, Ragged, take

MANY_MISSING = 0.95
"""Share of rows without a value from which a feature says nothing."""
MANY_UNKNOWN = 0.5
"""Share of unknown values from which a feature is noise where the model is measured."""


@dataclass(frozen=True)
class FeatureFacts:
    """What is in the column of a feature."""

    side: str
    feature: Feature
    dtype: str
    rows: int
    missing: float
    """The share of rows without a value."""
    distinct: int
    unknown: float | None
    """The share of held-out events whose value the vocabulary does not have; None = there is no vocabulary."""
    fold: str
    """The held-out fold that was looked at."""

    @property
    def where(self) -> str:
        """The side and the name of the feature."""
        return f"{self.side}.{self.feature.name}"

    def sentence(self) -> str:
        """Return the facts as one line."""
        parts = [f"{type(self.feature).__name__} of {self.dtype}, {self.distinct:,} distinct values"]
        parts.append(f"{percent(self.missing)} missing")
        if self.unknown is not None:
            parts.append(f"{percent(self.unknown)} unknown in {self.fold}")
        return ", ".join(parts)


def feature_facts(subject: Subject) -> list[FeatureFacts]:
    """Return the facts of all features that read a column."""
    return [_facts(subject, side, feature) for side in SIDES for feature in subject.features(side)]


def _facts(subject: Subject, side: str, feature: Feature) -> FeatureFacts:
    column = subject.column(side, feature)
    looked = column.gather(sample(np.arange(len(column))))
    return FeatureFacts(
        side=side,
        feature=feature,
        dtype=str(column.dtype),
        rows=len(column),
        missing=int(is_missing(looked).sum()) / max(len(looked), 1),
        distinct=looked.n_unique() if looked.dtype not in (pl.Object, pl.Binary) else len(looked),
        unknown=share_unknown(subject, side, feature, subject.held_out),
        fold=subject.held_out_name,
    )


def is_missing(column: pl.Series) -> pl.Series:
    """Return (n,) whether a value is null, NaN, an empty text or an empty list."""
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "").fill_null(True)
    if column.dtype == pl.List:
        return column.is_null() | (column.list.len() == 0).fill_null(True)
    return column.is_null() | (column.is_nan().fill_null(False) if column.dtype.is_float() else False)


def encoded(subject: Subject, side: str, feature: Feature) -> Column:
    """Return the encoded column of a feature, in the order of its table."""
    data = subject.prepared
    if side == "candidate":
        return data.candidate[feature.name]
    return data.event[feature.name] if subject.is_event(side, feature) else data.query[feature.name]


def share_unknown(subject: Subject, side: str, feature: Feature, rows: IntArray) -> float | None:
    """Return the share of events whose values of a feature are unknown; None if it has no vocabulary."""
    hashes = isinstance(feature, Categories) and feature.num_buckets is not None
    if not isinstance(feature, Categories | Words) or hashes or not len(rows):
        return None
    import torch

    rows = sample(rows)
    places = subject.places(side, feature, rows)
    column = encoded(subject, side, feature)
    ids = take(column, torch.from_numpy(places))
    assert isinstance(ids, Ragged | Tensor)
    unknown = (ids.values if isinstance(ids, Ragged) else ids).numpy() == 0
    if not isinstance(ids, Ragged):  # null is id 0, too
        unknown &= ~is_missing(subject.column(side, feature)).to_numpy()[places]
    return float(unknown.mean()) if len(unknown) else 0.0


# -- checks -----------------------------------------------------------------------------------------------------------


def check_columns(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with single columns: nothing in them, one value, or values that are unknown later."""
    for facts in feature_facts(subject):
        yield Finding("note", "column", facts.where, facts.sentence())
        yield from _missing(subject, facts)
        yield from _constant(subject, facts)
        yield from _rare(subject, facts)
        yield from _unknown(subject, facts)


def _missing(subject: Subject, facts: FeatureFacts) -> Iterator[Finding]:
    if facts.missing < 0.2 or isinstance(facts.feature, Image):
        return
    name = facts.feature.name
    if facts.missing >= MANY_MISSING:
        change = without_line(subject.sections, facts.side, name)
        found = f"{percent(facts.missing)} of {facts.rows:,} rows have no value, so that the feature says nothing"
        yield Finding("warning", "missing-values", facts.where, found, change)
        return
    wants = isinstance(facts.feature, Numeric) and facts.feature.missing == "mean"
    line = feature_line(subject.sections, facts.side, name, missing="indicator") if wants else None
    found = f"{percent(facts.missing)} of {facts.rows:,} rows have no value"
    yield Finding("note", "missing-values", facts.where, found, line)


def _constant(subject: Subject, facts: FeatureFacts) -> Iterator[Finding]:
    if facts.distinct == 1 and facts.rows > 1 and facts.missing < MANY_MISSING:
        change = without_line(subject.sections, facts.side, facts.feature.name)
        found = f"all {facts.rows:,} rows have the same value, so that the feature says nothing"
        yield Finding("warning", "constant-column", facts.where, found, change)


def _rare(subject: Subject, facts: FeatureFacts) -> Iterator[Finding]:
    """A vocabulary that leaves out most values of the training rows themselves."""
    feature = facts.feature
    entry = arguments(feature_entry(subject.sections, facts.side, feature.name))
    cuts = [name for name in ("min_frequency", "max_tokens", "vocabulary") if entry.get(name)]
    share = share_unknown(subject, facts.side, feature, subject.rows[TRAIN]) if cuts else None
    if share is not None and share > MANY_UNKNOWN:
        kept = len(getattr(feature, "vocabulary", None) or ())
        found = f"{percent(share)} of the training values are unknown: {cuts[0]} keeps {kept:,} of {facts.distinct:,}"
        change = feature_line(subject.sections, facts.side, feature.name, **{cuts[0]: None})
        yield Finding("warning", "vocabulary", facts.where, found, change)


def _unknown(subject: Subject, facts: FeatureFacts) -> Iterator[Finding]:
    feature, share = facts.feature, facts.unknown
    keys = subject.tables.keys
    is_candidate_id = facts.side == "candidate" and feature.source_column == keys.candidate_id
    if share is None or share <= 0.1 or is_candidate_id:  # candidates without training rows have a check of their own
        return
    change: str | None = None
    found = f"{percent(share)} of the values in {facts.fold} are not in the vocabulary of {_known(feature):,}"
    if facts.side == "query" and feature.source_column == keys.query_id:
        found += f": {subject.split} holds out whole queries"
        change = without_line(subject.sections, facts.side, feature.name)
    elif isinstance(feature, Words):
        change = feature_line(subject.sections, facts.side, feature.name, "HashedTrigrams")
    elif isinstance(feature, Categorical | CategoricalList):
        hashed = {"num_buckets": 1024, "min_frequency": None, "vocabulary": None, "num_embeddings": None}
        kind = type(feature).__name__
        separator = {"separator": feature.separator} if isinstance(feature, CategoricalList) else {}
        change = feature_line(subject.sections, facts.side, feature.name, kind, **separator, **hashed)
    yield Finding("warning" if share > MANY_UNKNOWN else "note", "unknown-values", facts.where, found, change)


def _known(feature: Feature) -> int:
    return len(getattr(feature, "vocabulary", None) or ())
