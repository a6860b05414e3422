"""Numbers: standardised, or divided into buckets with an embedding each."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.few_values import read_number_values
from dssm_lightning.features.number_readings import read_bucket, read_number
from dssm_lightning.features.number_statistics import deviation_of, mean_of, present, refuse_large, require_no_missing
from dssm_lightning.features.raw_numbers import Numbers, read_numbers
from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.readings import Reading
from dssm_lightning.utils.errors import MAX_FLOAT32, UserError, is_number, require_at_least, require_choice

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Numeric(Feature):
    """A number, standardised by the mean and the standard deviation of the fitted rows: (B, width) float32.

    Booleans become 0 and 1. Dates, times of day and durations become seconds (dates since 1970, UTC). Numbers and dates
    of ISO 8601 that are written as text are read (:func:`~dssm_lightning.features.raw_numbers.read_numbers`). A feature
    that was fitted on one kind refuses the others.

    Raises:
        UserError: ``missing`` is unknown, ``mean`` is not finite, or ``std`` is not positive and finite.

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
    column, up to rounding."""
    holds: str | None = field(default=None, compare=False)
    """The kind of values that the feature was fitted on: "numbers", "dates", "times of day" or "durations"; set by
    ``fit``. None: unknown, as in schemas of releases up to 0.1.0; every kind is read."""

    def __post_init__(self) -> None:
        require_choice(self._label, "missing", self.missing, ("error", "mean", "indicator"))
        for name, least in (("mean", -math.inf), ("std", 0.0)):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and least < value < math.inf):
                possible = "positive and finite" if name == "std" else "finite"
                raise UserError(f"{self._label}: {name} is {value!r}; it must be {possible}")

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
            UserError: the column has no value, a missing value with ``missing="error"``, an infinite value, a value
                that is not a number, values of several kinds, or values so large that their deviation is infinite.
        """
        column_of_numbers = self._read(column)
        fitted = replace(self, holds=column_of_numbers.kind or self.holds)
        if self.is_fitted:
            return fitted
        values = present(self, column_of_numbers.values)
        mean = mean_of(self, values) if self.mean is None else self.mean
        return replace(fitted, mean=mean, std=deviation_of(self, values) if self.std is None else self.std)

    def encode_array(self, column: pl.Series) -> NDArray[np.float32]:
        """Encode numbers (B,) as (B, width) float32.

        Raises:
            UserError: as for :meth:`fit`; also values of another kind than the fitted ones, and a value so far from the
                mean that it is infinite in float32.
        """
        assert self.mean is not None
        assert self.std is not None
        values = self._read(column).values
        missing = np.isnan(values)
        with np.errstate(over="ignore"):
            standardised = np.where(missing, 0.0, (values - self.mean) / self.std)
            planes = [standardised, missing] if self.missing == "indicator" else [standardised]
            encoded: NDArray[np.float32] = np.stack(planes, axis=1).astype(np.float32)  # (B, width)
        infinite = ~np.isfinite(encoded[:, 0])
        if infinite.any():
            row = int(infinite.argmax())
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds {shown(column[row])} in row {row} (counted from "
                f"0), which is infinite in float32 once it is standardised (mean {self.mean}, std {self.std}); correct "
                "the value, or set it to null"
            )
        return encoded

    def _encode_few(self, values: Sequence[Any]) -> NDArray[np.float32] | None:
        assert self.mean is not None
        assert self.std is not None
        mean, std, marks, rows = float(self.mean), float(self.std), self.missing == "indicator", []
        for number in read_number_values(values, self.holds):
            missing = number != number
            standardised = 0.0 if missing else (number - mean) / std
            if abs(standardised) > MAX_FLOAT32 or (missing and self.missing == "error"):
                return None
            rows.append((standardised, float(missing)) if marks else (standardised,))
        return np.array(rows, np.float32).reshape(len(rows), self.width)

    def read(self, value: Any) -> Reading:
        """Return the number as text; none if it is missing. Errors as for the base class."""
        return read_number(self, value, self.holds)

    def _read(self, column: pl.Series) -> Numbers:
        numbers = read_numbers(self, column, self.holds)
        if self.missing == "error":
            remedy = "`missing: mean` replaces them by the mean, `missing: indicator` also marks them"
            require_no_missing(self, numbers.values, remedy)
        return numbers


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
    holds: str | None = field(default=None, compare=False)
    """The kind of values that the feature was fitted on, as for :class:`Numeric`."""

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
            raise UserError(f"{self._label}: boundaries are {shown(self.boundaries)}; they must be finite and ascend")
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
        numbers = self._read(column)
        fitted = replace(self, holds=numbers.kind or self.holds)
        if self.is_fitted:
            return fitted
        assert self.num_buckets is not None
        values = present(self, numbers.values)
        places = np.linspace(0, 1, self.num_buckets + 1)[1:-1]
        low, high = values.min(), values.max()
        with np.errstate(over="ignore", invalid="ignore"):
            cuts = low + places * (high - low) if self.edges == "uniform" else np.quantile(values, places)
        if not np.isfinite(cuts).all():
            refuse_large(self, values, "width of a bucket")
        distinct = np.unique(cuts)
        # a boundary at the smallest value would leave the first bucket empty
        return replace(fitted, boundaries=tuple(distinct[distinct > low].tolist()))

    def encode_array(self, column: pl.Series) -> NDArray[np.int32]:
        """Encode numbers (B,) as ids (B,) int32."""
        assert self.boundaries is not None
        values = self._read(column).values
        buckets = 1 + np.searchsorted(np.asarray(self.boundaries, dtype=np.float64), values, side="right")
        return np.where(np.isnan(values), 0, buckets).astype(np.int32)

    def _encode_few(self, values: Sequence[Any]) -> NDArray[np.int32] | None:
        assert self.boundaries is not None
        numbers = read_number_values(values, self.holds)
        missing = [number != number for number in numbers]
        if self.missing == "error" and any(missing):
            return None
        ids = [0 if gone else 1 + bisect_right(self.boundaries, n) for n, gone in zip(numbers, missing, strict=True)]
        return np.array(ids, np.int32)

    def read(self, value: Any) -> Reading:
        """Return the number and its bucket as text; none if it is missing. Errors as for the base class."""
        return read_bucket(self, value, self.cardinality - 1)

    def _read(self, column: pl.Series) -> Numbers:
        numbers = read_numbers(self, column, self.holds)
        if self.missing == "error":
            require_no_missing(self, numbers.values, "`missing: bucket` gives them a separate bucket")
        return numbers
