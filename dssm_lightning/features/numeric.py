"""Numbers: standardised, or cut into buckets that have an embedding each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import Floats, as_floats, how_many
from dssm_lightning.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Numeric(Feature):
    """A number, standardised by the mean and the standard deviation of the fitted rows: (B, width) float32.

    Booleans count as 0 and 1; dates, times of day and durations as seconds (dates since 1970, UTC).

    Raises:
        ValueError: a standard deviation that is not positive.
    """

    missing: Literal["error", "mean", "indicator"] = "error"
    """What null and NaN mean: an error; the mean (0 once standardised); or the mean, told by a second value that is 1
    where the number is missing and 0 elsewhere."""
    mean: float | None = None
    """Subtracted from each value; learnt from the data unless it is given."""
    std: float | None = None
    """Divides each value; learnt from the data unless it is given, and 1 for a constant column."""

    def __post_init__(self) -> None:
        _check_choice(self, "missing", self.missing, ("error", "mean", "indicator"))
        if self.std is not None and not self.std > 0:
            raise UserError(f"Numeric feature {self.name!r}: std must be positive, found {self.std}")

    @property
    def is_fitted(self) -> bool:
        """Whether mean and standard deviation are known."""
        return self.mean is not None and self.std is not None

    @property
    def width(self) -> int:
        """Floats for each row."""
        return 2 if self.missing == "indicator" else 1

    def fit(self, column: pl.Series) -> Numeric:
        """A copy with the column's mean and standard deviation (of the population), missing values left out.

        Raises:
            ValueError: no value at all; missing values where they are an error; infinite values; no numbers.
        """
        if self.is_fitted:
            return self
        values = _present(self, self._floats(column))
        std = float(np.std(values))
        mean = float(np.mean(values)) if self.mean is None else self.mean
        return replace(self, mean=mean, std=(std or 1.0) if self.std is None else self.std)

    def encode(self, column: pl.Series) -> Tensor:
        """(B,) numbers -> (B, width) float32."""
        assert self.mean is not None
        assert self.std is not None
        values = self._floats(column)
        missing = np.isnan(values)
        standardised = np.where(missing, 0.0, (values - self.mean) / self.std)
        planes = [standardised, missing] if self.missing == "indicator" else [standardised]
        return torch.from_numpy(np.stack(planes, axis=1).astype(np.float32))  # (B, width)

    def _floats(self, column: pl.Series) -> Floats:
        values = as_floats(self, column)
        if self.missing == "error":
            remedy = "`missing: mean` takes them for the mean, `missing: indicator` for a value of their own"
            _check_no_missing(self, values, remedy)
        return values


@dataclass(frozen=True, kw_only=True)
class Bucketized(Feature):
    """A number as the bucket that it falls into: (B,) int32 ids 1 … cardinality − 1, and 0 where it is missing.

    Bucket i holds ``boundaries[i - 2] <= value < boundaries[i - 1]``; what lies beyond the fitted range falls into the
    outermost ones. A thousand uniform buckets over a timestamp is how the TFRS tutorials let taste depend on time.

    Raises:
        ValueError: neither a number of buckets nor boundaries; boundaries that do not ascend.
    """

    num_buckets: int | None = None
    """How many buckets to fit. Quantiles of a column with few distinct values coincide: fewer buckets are made then."""
    edges: Literal["quantile", "uniform"] = "quantile"
    """Buckets of equal numbers of rows, or of equal width between the smallest and the largest value."""
    boundaries: tuple[float, ...] | None = None
    """The edges between the buckets, ascending; learnt from the data unless they are given."""
    missing: Literal["error", "bucket"] = "error"
    """What null and NaN mean: an error, or a bucket of their own (id 0)."""

    def __post_init__(self) -> None:
        _check_choice(self, "edges", self.edges, ("quantile", "uniform"))
        _check_choice(self, "missing", self.missing, ("error", "bucket"))
        label = f"Bucketized feature {self.name!r}"
        if self.num_buckets is None and self.boundaries is None:
            raise UserError(f"{label}: give num_buckets, or the boundaries themselves")
        if self.num_buckets is not None and self.num_buckets < 1:
            raise UserError(f"{label}: num_buckets must be at least 1, found {self.num_buckets}")
        if self.boundaries is None:
            return
        object.__setattr__(self, "boundaries", tuple(map(float, self.boundaries)))
        if not (np.isfinite(self.boundaries).all() and (np.diff(self.boundaries) > 0).all()):
            raise UserError(f"{label}: boundaries must be finite and ascend, found {_short(self.boundaries)}")
        if self.num_buckets is not None and len(self.boundaries) >= self.num_buckets:
            raise UserError(
                f"{label}: {len(self.boundaries)} boundaries make {len(self.boundaries) + 1} buckets, but num_buckets "
                f"is {self.num_buckets}; leave num_buckets out where boundaries are given"
            )

    @property
    def is_fitted(self) -> bool:
        """Whether the boundaries are known."""
        return self.boundaries is not None

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table: the missing value, then the buckets."""
        assert self.boundaries is not None
        return len(self.boundaries) + 2

    def fit(self, column: pl.Series) -> Bucketized:
        """A copy with boundaries between the column's values, missing values left out.

        Raises:
            ValueError: no value at all; missing values where they are an error; infinite values; no numbers.
        """
        if self.is_fitted:
            return self
        assert self.num_buckets is not None
        values = _present(self, self._floats(column))
        places = np.linspace(0, 1, self.num_buckets + 1)[1:-1]
        low, high = values.min(), values.max()
        cuts = low + places * (high - low) if self.edges == "uniform" else np.quantile(values, places)
        distinct = np.unique(cuts)
        # an edge at the smallest value would leave the bucket below it empty
        return replace(self, boundaries=tuple(distinct[distinct > low].tolist()))

    def encode(self, column: pl.Series) -> Tensor:
        """(B,) numbers -> (B,) int32."""
        assert self.boundaries is not None
        values = self._floats(column)
        buckets = 1 + np.searchsorted(np.asarray(self.boundaries, dtype=np.float64), values, side="right")
        return torch.from_numpy(np.where(np.isnan(values), 0, buckets).astype(np.int32))

    def _floats(self, column: pl.Series) -> Floats:
        values = as_floats(self, column)
        if self.missing == "error":
            _check_no_missing(self, values, "`missing: bucket` gives them a bucket of their own")
        return values


def _check_no_missing(feature: Feature, values: Floats, remedy: str) -> None:
    """Refuse NaN, saying how many there are, where, and what would be possible."""
    missing = np.isnan(values)
    if missing.any():
        label = f"{type(feature).__name__} feature {feature.name!r}"
        raise UserError(f"{label}: {how_many(missing)} are missing (null or NaN); {remedy}")


def _present(feature: Feature, values: Floats) -> Floats:
    """The values that are not NaN, at least one."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise UserError(
            f"{type(feature).__name__} feature {feature.name!r}: no value to learn from in {len(values):,} rows"
        )
    return known


def _check_choice(feature: Feature, argument: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(
            f"{type(feature).__name__} feature {feature.name!r}: {argument} must be one of {', '.join(choices)}; "
            f"found {value!r}"
        )


def _short(values: tuple[float, ...]) -> str:
    return str(values) if len(values) <= 6 else f"({', '.join(map(str, values[:6]))}, …)"
