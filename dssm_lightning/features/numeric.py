"""Numbers: standardised, or divided into buckets with an embedding each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import Floats, as_floats, how_many
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_positive


@dataclass(frozen=True, kw_only=True)
class Numeric(Feature):
    """A number, standardised by the mean and the standard deviation of the fitted rows: (B, width) float32.

    Booleans become 0 and 1. Dates, times of day and durations become seconds (dates since 1970, UTC).

    Raises:
        UserError: ``missing`` is unknown, or ``std`` is not positive.

    Example:
        >>> import polars as pl
        >>> feature = Numeric(name="age", missing="indicator").fit(pl.Series([20, 40, None]))
        >>> feature.mean, feature.std
        (30.0, 10.0)
        >>> feature.encode(pl.Series([50, None])).tolist()
        [[2.0, 0.0], [0.0, 1.0]]
    """

    missing: Literal["error", "mean", "indicator"] = "error"
    """Meaning of null and NaN. "error": raise an error. "mean": use the mean, which is 0 after standardisation.
    "indicator": use the mean, and append a second number that is 1 if the value is missing and 0 otherwise."""
    mean: float | None = None
    """The mean, subtracted from each value. Learnt by ``fit`` unless it is given."""
    std: float | None = None
    """The standard deviation, which divides each value. Learnt by ``fit`` unless it is given; 1 for a constant
    column."""

    def __post_init__(self) -> None:
        require_choice(self._label, "missing", self.missing, ("error", "mean", "indicator"))
        require_positive(self._label, "std", self.std)

    @property
    def is_fitted(self) -> bool:
        """Whether the mean and the standard deviation are known."""
        return self.mean is not None and self.std is not None

    @property
    def width(self) -> int:
        """Number of floats in each row."""
        return 2 if self.missing == "indicator" else 1

    def fit(self, column: pl.Series) -> Numeric:
        """Return a copy with the mean and the population standard deviation of the values that are not missing.

        Raises:
            UserError: the column has no value, a missing value with ``missing="error"``, an infinite value, or a type
                that is not a number.
        """
        if self.is_fitted:
            return self
        values = _present(self, self._floats(column))
        std = float(np.std(values))
        mean = float(np.mean(values)) if self.mean is None else self.mean
        return replace(self, mean=mean, std=(std or 1.0) if self.std is None else self.std)

    def encode(self, column: pl.Series) -> Tensor:
        """Encode numbers (B,) as (B, width) float32."""
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
            remedy = "`missing: mean` replaces them by the mean, `missing: indicator` also marks them"
            _check_no_missing(self, values, remedy)
        return values


@dataclass(frozen=True, kw_only=True)
class Bucketized(Feature):
    """The bucket of a number: (B,) int32 ids 1 … cardinality − 1, and 0 for a missing value.

    Bucket i holds ``boundaries[i - 2] <= value < boundaries[i - 1]``. The first and the last bucket also hold the
    values outside the fitted range. The TFRS tutorials use a thousand uniform buckets of a timestamp to let preferences
    depend on time.

    Raises:
        UserError: ``num_buckets`` and ``boundaries`` are both missing or contradict each other, or the boundaries do
            not ascend.

    Example:
        >>> import polars as pl
        >>> feature = Bucketized(name="year", num_buckets=4, edges="uniform").fit(pl.Series([1960, 2000]))
        >>> feature.boundaries
        (1970.0, 1980.0, 1990.0)
        >>> feature.encode(pl.Series([1969, 1970, 2024])).tolist()
        [1, 2, 4]
    """

    num_buckets: int | None = None
    """Number of buckets to fit. There are fewer if quantiles coincide, which happens with few distinct values."""
    edges: Literal["quantile", "uniform"] = "quantile"
    """"quantile": buckets with equal numbers of rows. "uniform": buckets of equal width between the smallest and the
    largest value."""
    boundaries: tuple[float, ...] | None = None
    """The boundaries between the buckets, ascending. Learnt by ``fit`` unless they are given."""
    missing: Literal["error", "bucket"] = "error"
    """Meaning of null and NaN. "error": raise an error. "bucket": use a separate bucket, id 0."""

    def __post_init__(self) -> None:
        require_choice(self._label, "edges", self.edges, ("quantile", "uniform"))
        require_choice(self._label, "missing", self.missing, ("error", "bucket"))
        require_at_least(self._label, "num_buckets", self.num_buckets)
        if self.num_buckets is None and self.boundaries is None:
            raise UserError(f"{self._label}: num_buckets and boundaries are both missing; give one of them")
        if self.boundaries is None:
            return
        object.__setattr__(self, "boundaries", tuple(map(float, self.boundaries)))
        if not (np.isfinite(self.boundaries).all() and (np.diff(self.boundaries) > 0).all()):
            raise UserError(f"{self._label}: boundaries are {_short(self.boundaries)}; they must be finite and ascend")
        if self.num_buckets is not None and len(self.boundaries) >= self.num_buckets:
            raise UserError(
                f"{self._label}: num_buckets is {self.num_buckets}, but {len(self.boundaries)} boundaries make "
                f"{len(self.boundaries) + 1} buckets; remove num_buckets if you give boundaries"
            )

    @property
    def is_fitted(self) -> bool:
        """Whether the boundaries are known."""
        return self.boundaries is not None

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table: the missing value, then the buckets."""
        assert self.boundaries is not None
        return len(self.boundaries) + 2

    def fit(self, column: pl.Series) -> Bucketized:
        """Return a copy with the boundaries of the values that are not missing.

        Raises:
            UserError: as for :meth:`Numeric.fit`.
        """
        if self.is_fitted:
            return self
        assert self.num_buckets is not None
        values = _present(self, self._floats(column))
        places = np.linspace(0, 1, self.num_buckets + 1)[1:-1]
        low, high = values.min(), values.max()
        cuts = low + places * (high - low) if self.edges == "uniform" else np.quantile(values, places)
        distinct = np.unique(cuts)
        # a boundary at the smallest value would leave the first bucket empty
        return replace(self, boundaries=tuple(distinct[distinct > low].tolist()))

    def encode(self, column: pl.Series) -> Tensor:
        """Encode numbers (B,) as ids (B,) int32."""
        assert self.boundaries is not None
        values = self._floats(column)
        buckets = 1 + np.searchsorted(np.asarray(self.boundaries, dtype=np.float64), values, side="right")
        return torch.from_numpy(np.where(np.isnan(values), 0, buckets).astype(np.int32))

    def _floats(self, column: pl.Series) -> Floats:
        values = as_floats(self, column)
        if self.missing == "error":
            _check_no_missing(self, values, "`missing: bucket` gives them a separate bucket")
        return values


def _check_no_missing(feature: Feature, values: Floats, remedy: str) -> None:
    """Refuse NaN with an error that has the number of missing values, their first rows, and a remedy."""
    missing = np.isnan(values)
    if missing.any():
        raise UserError(f"{feature._label}: {how_many(missing)} are missing (null or NaN); {remedy}")


def _present(feature: Feature, values: Floats) -> Floats:
    """Return the values that are not NaN; refuse a column without any."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        raise UserError(f"{feature._label}: no value to learn from in {len(values):,} rows")
    return known


def _short(values: tuple[float, ...]) -> str:
    return str(values) if len(values) <= 6 else f"({', '.join(map(str, values[:6]))}, …)"
