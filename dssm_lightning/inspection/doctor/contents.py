"""Columns that a feature reads as something else: texts as categories, lists as one value, ids as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl

from dssm_lightning.features import Categorical, Feature, Numeric
from dssm_lightning.inspection.doctor.columns import encoded, is_missing
from dssm_lightning.inspection.doctor.findings import Finding, percent
from dssm_lightning.inspection.doctor.settings import feature_line, source_line
from dssm_lightning.inspection.doctor.subject import SIDES, Subject, sample
from dssm_lightning.utils.ragged import Ragged

SEPARATORS = ("|", ";", ",")
NULL_WORDS = ("null", "nan", "n/a", "na", "#n/a", "undefined", "<na>", "\\n")
"""Texts that exports of other programs write for a missing value, in lower case. "none" and "unknown" may be values."""
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|â€|\ufffd|Ð[\u0080-\u00bf]|Â[\u0080-\u00bf]")
"""UTF-8 that was read as Latin-1 or Windows-1252, and characters that could not be read."""
FAR = 20.0
"""Standard deviations beyond which a number outweighs every other feature."""


def check_contents(subject: Subject) -> Iterator[Finding]:
    """Yield columns that are read as something else than they are."""
    seen: set[tuple[str, str]] = set()
    for side in SIDES:
        for feature in subject.features(side):
            column = subject.column(side, feature)
            values = column.gather(sample(np.arange(len(column))))
            where = f"{side}.{feature.name}"
            if values.dtype == pl.String and isinstance(feature, Categorical):
                yield from _category(subject, side, feature, values, where)
            if isinstance(feature, Numeric):
                yield from _number(subject, side, feature, where)
            if values.dtype == pl.String and (side, feature.source_column) not in seen:
                seen.add((side, feature.source_column))
                yield from _written(subject, feature, values, where)


def _category(subject: Subject, side: str, feature: Feature, values: pl.Series, where: str) -> Iterator[Finding]:
    texts = values.drop_nulls()
    keys = subject.tables.keys
    if any(other.reads_text and other.source_column == feature.source_column for other in subject.features(side)):
        return  # an id in words, beside the feature of its words
    if not len(texts) or feature.source_column in (keys.query_id, keys.candidate_id):
        return
    distinct = texts.n_unique()
    words = texts.str.count_matches(r"\S+").mean()
    if distinct > 0.9 * len(texts) and len(texts) >= 20 and isinstance(words, float) and words >= 2:
        found = f"{distinct:,} distinct texts of {words:.1f} words in {len(texts):,} rows: a category of one row each"
        line = feature_line(subject.sections, side, feature.name, "HashedWords")
        yield Finding("warning", "text-as-category", where, found, line)
        return
    for separator in SEPARATORS:
        joined = int(texts.str.contains(separator, literal=True).sum()) / len(texts)
        parts = texts.str.split(separator).explode().str.strip_chars().n_unique()
        if joined > 0.2 and parts * 2 <= distinct:
            found = f"{percent(joined)} of the values join several by {separator!r}: "
            found += f"{distinct:,} combinations of {parts:,} values"
            line = feature_line(subject.sections, side, feature.name, "CategoricalList", separator=separator)
            yield Finding("warning", "list-as-category", where, found, line)
            return


def _number(subject: Subject, side: str, feature: Numeric, where: str) -> Iterator[Finding]:
    keys = subject.tables.keys
    if feature.source_column in (keys.query_id, keys.candidate_id):
        line = feature_line(subject.sections, side, feature.name, "Categorical")
        yield Finding("warning", "id-as-number", where, "ids have no order, and are read as a number", line)
        return
    column = encoded(subject, side, feature)
    if isinstance(column, Ragged):
        return
    farthest = float(np.abs(np.asarray(column)[:, 0]).max(initial=0.0))
    if farthest > FAR:
        found = f"a value lies {farthest:,.0f} standard deviations from the mean, and outweighs all other features"
        changes = {"num_buckets": 20, "missing": "bucket" if feature.missing != "error" else None}
        line = feature_line(subject.sections, side, feature.name, "Bucketized", **changes)
        yield Finding("warning", "outliers", where, found, line)


def _written(subject: Subject, feature: Feature, values: pl.Series, where: str) -> Iterator[Finding]:
    """Texts that stand for a missing value, and letters that were read in another encoding."""
    texts = values.filter(~is_missing(values))
    if not len(texts):
        return
    lowered = texts.str.to_lowercase().str.strip_chars()
    for word in NULL_WORDS:
        count = int((lowered == word).sum())
        if count >= 3 and count > 0.01 * len(texts):
            written = texts.filter(lowered == word)[0]
            found = f"{count:,} of {len(texts):,} values are {written!r}, which is read as a value"
            yield Finding("warning", "null-words", where, found, source_line("missing", [written]))
            break
    broken = texts.str.contains(_MOJIBAKE.pattern)
    count = int(broken.sum())
    if count >= 3 and count > 0.002 * len(texts):
        example = texts.filter(broken)[0][:40]
        found = f"{count:,} of {len(texts):,} texts look as if read in another encoding, such as {example!r}"
        yield Finding("warning", "encoding", where, found, source_line("encoding", "utf-8", "as the file is written"))
