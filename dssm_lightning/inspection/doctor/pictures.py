"""Pictures: missing, unreadable, and all the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dssm_lightning.features import Image
from dssm_lightning.inspection.doctor.columns import encoded, is_missing
from dssm_lightning.inspection.doctor.findings import Finding, percent
from dssm_lightning.inspection.doctor.settings import feature_line, without_line
from dssm_lightning.inspection.doctor.subject import SIDES, Subject, sample

MOST_PICTURES = 4_000
"""Pictures that are looked at."""


def check_pictures(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with features of pictures."""
    for side in SIDES:
        for feature in subject.features(side):
            if isinstance(feature, Image):
                yield from _pictures(subject, side, feature)


def _pictures(subject: Subject, side: str, feature: Image) -> Iterator[Finding]:
    pixels, where = np.asarray(encoded(subject, side, feature)), f"{side}.{feature.name}"  # (n, channels, size, size)
    rows = sample(np.arange(len(pixels)), MOST_PICTURES)
    column = subject.column(side, feature).gather(rows)
    looked = pixels[rows]
    covered = looked[:, -1].any(axis=(1, 2))
    missing = is_missing(column).to_numpy()
    broken = ~covered & ~missing
    found = f"{percent(float(missing.mean()))} of {len(rows):,} rows name no picture, {percent(float(broken.mean()))} "
    found += f"name one that cannot be read; {feature.size} × {feature.size} pixels"
    yield Finding("note", "pictures", where, found)
    if broken.mean() > 0.01:
        example = str(column.filter(broken)[0])[:40]
        text = (
            f"{int(broken.sum()):,} of {int((~missing).sum()):,} pictures cannot be read and count as missing, such as "
        )
        root = feature_line(subject.sections, side, feature.name, root=feature.root or "the folder of the pictures")
        yield Finding("warning", "pictures-unreadable", where, f"{text}{example!r}", root)
    if not covered.any() or (~covered).mean() > 0.95:
        text = f"{percent(float((~covered).mean()))} of {len(rows):,} rows have no picture"
        yield Finding("warning", "pictures-missing", where, text, without_line(subject.sections, side, feature.name))
        return
    prints = np.unique(looked[covered].reshape(int(covered.sum()), -1), axis=0, return_counts=True)[1]
    if covered.sum() >= 10 and prints.max() > 0.5 * covered.sum():
        text = f"{int(prints.max()):,} of {int(covered.sum()):,} pictures are the same one, such as a placeholder"
        yield Finding("warning", "pictures-same", where, text, without_line(subject.sections, side, feature.name))
