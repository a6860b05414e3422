"""What numeric features learn from numbers, and the numbers that they refuse."""

from __future__ import annotations

import numpy as np

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_numbers import Floats, how_many
from dssm_lightning.utils.errors import UserError

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""Values are constant if their standard deviation is at most this share of the largest one: it is rounding alone."""
TINY = 1e-100
"""Squares of smaller numbers are 0, or lose digits."""


def mean_of(feature: Feature, values: Floats) -> float:
    """Return the mean; refuse values whose mean is infinite."""
    with np.errstate(over="ignore"):
        mean = float(np.mean(values))
    if not np.isfinite(mean):
        refuse_large(feature, values, "mean")
    return mean


def deviation_of(feature: Feature, values: Floats) -> float:
    """Return the population standard deviation; 1 for values that are equal up to rounding."""
    largest = float(np.abs(values).max())
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        std = float(np.std(values))
        if largest < TINY:  # squares would be 0
            std = float(np.std(values / largest)) * largest if largest else 0.0
    if not np.isfinite(std):
        refuse_large(feature, values, "standard deviation")
    return 1.0 if std <= ROUNDING * largest else std


def refuse_large(feature: Feature, values: Floats, what: str) -> None:
    """Raise the error that names the largest value, which makes ``what`` infinite."""
    largest = float(values[np.abs(values).argmax()])
    raise UserError(
        f"{feature._label}: column {feature.source_column!r} holds {largest}, so that the {what} is infinite in "
        "float64; correct the value, set it to null, or divide the column by a constant"
    )


def require_no_missing(feature: Feature, values: Floats, remedy: str) -> None:
    """Refuse NaN with an error that has the number of missing values, their first rows, and a remedy."""
    missing = np.isnan(values)
    if missing.any():
        raise UserError(f"{feature._label}: {how_many(missing)} are missing (null or NaN); {remedy}")


def present(feature: Feature, values: Floats) -> Floats:
    """Return the values that are not NaN; refuse a column without any."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise UserError(f"{feature._label}: no value to learn from in {len(values):,} rows")
    return known
