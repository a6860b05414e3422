"""Vectors that come with the data, such as the embeddings of a language model or a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.number_readings import read_vector
from dssm_lightning.features.raw_columns import ENTRY, by_value
from dssm_lightning.features.raw_numbers import read_numbers
from dssm_lightning.features.raw_values import NUMBERS, plain
from dssm_lightning.features.readings import Reading
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError, require_at_least

if TYPE_CHECKING:
    import polars as pl

Matrix: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Vector(Feature):
    """A vector of numbers in each row, all of the same length, unchanged: (B, length) float32.

    Raises:
        UserError: ``length`` is below 1.

    Example:
        >>> import polars as pl
        >>> column = pl.Series([[0.5, 1.0], [2.0, 0.0]])
        >>> feature = Vector(name="embedding").fit(column)
        >>> feature.length, feature.encode(column).tolist()
        (2, [[0.5, 1.0], [2.0, 0.0]])
    """

    length: int | None = None
    """Number of numbers in each row. ``fit`` takes the length of the first row unless it is given."""

    def __post_init__(self) -> None:
        require_at_least(self._label, "length", self.length)

    @property
    def is_fitted(self) -> bool:
        """Whether the length is known."""
        return self.length is not None

    @property
    def width(self) -> int:
        """Number of floats in each row."""
        assert self.length is not None
        return self.length

    def fit(self, column: pl.Series) -> Vector:
        """Return a copy with the length of the first row, which all rows must have.

        Raises:
            UserError: as for :meth:`encode_array`; also a column without rows.
        """
        lists = self._lists(column)
        if len(lists) == 0:
            raise UserError(f"{self._label}: no row to learn the length from; give `length`")
        fitted = self if self.is_fitted else replace(self, length=lists.list.len()[0])
        fitted._matrix(lists)
        return fitted

    def encode_array(self, column: pl.Series) -> Matrix:
        """Encode lists or arrays of numbers (B,) as (B, length) float32.

        Raises:
            UserError: a vector is missing, has another length, or holds NaN or infinity; the column does not hold
                vectors of numbers.
        """
        return self._matrix(self._lists(column))

    def _encode_few(self, values: Sequence[Any]) -> Matrix | None:
        vectors = [plain(value) for value in values]
        if not all(type(vector) is list and len(vector) == self.width for vector in vectors):
            return None
        kinds = {type(number) for vector in vectors for number in vector}
        if not kinds <= {int, float}:
            vectors = [[plain(number) for number in vector] for vector in vectors]
            kinds = {type(number) for vector in vectors for number in vector}
        if not kinds or not all(kind in (int, float) or issubclass(kind, np.floating) for kind in kinds):
            return None
        try:  # whole numbers become float32 at once, and others by way of float64
            matrix = np.array(vectors, np.int64 if kinds == {int} else np.float64)
        except OverflowError:
            return None
        with np.errstate(over="ignore"):
            encoded = matrix.astype(np.float32)
        return encoded if np.isfinite(encoded).all() else None

    def read(self, value: Any) -> Reading:
        """Return the first numbers as one value. Errors as for the base class."""
        return read_vector(self, value, self.width)

    def _lists(self, column: pl.Series) -> pl.Series:
        import polars as pl

        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        if column.dtype in (pl.Object, pl.List(pl.String)):
            column = self._read(column)
        numbers = isinstance(column.dtype, pl.List) and (
            column.dtype.inner.is_numeric() or column.dtype.inner == pl.Null
        )
        if not numbers:
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds {column.dtype}; it must hold lists or arrays of "
                "numbers"
            )
        missing = column.is_null().arg_true()
        if len(missing):
            raise UserError(
                f"{self._label}: {len(missing):,} of {len(column):,} rows have no vector, first row {missing[0]} "
                "(counted from 0); give each row a vector (zeros if nothing is known), or remove such rows"
            )
        return column

    def _read(self, column: pl.Series) -> pl.Series:
        """Read lists of texts, or of values of several types, as lists of floats."""
        import polars as pl

        def vector(value: Any) -> list[Any] | None:
            value = plain(value)
            if value is not None and not isinstance(value, list):
                raise UserError(f"it must hold lists of numbers, not a value of type {type(value).__name__}")
            return value

        vectors = by_value(self, column, vector)
        entries = raw_column([number for vector in vectors for number in vector or ()], ENTRY)
        floats = read_numbers(self, entries, NUMBERS).values
        ends = np.cumsum([len(vector or ()) for vector in vectors])
        pairs = zip(vectors, np.split(floats, ends[:-1]), strict=True) if len(vectors) else ()
        return pl.Series(
            column.name, [None if v is None else part.tolist() for v, part in pairs], dtype=pl.List(pl.Float64)
        )

    def _matrix(self, lists: pl.Series) -> Matrix:
        import polars as pl

        lengths = lists.list.len()
        wrong = (lengths != self.width).arg_true()
        if len(wrong):
            raise UserError(
                f"{self._label}: the vector in row {wrong[0]} (counted from 0) has length {lengths[wrong[0]]}; it must "
                f"have length {self.width} ({len(wrong):,} of {len(lists):,} rows have another length)"
            )
        flat = lists.explode().cast(pl.Float32).fill_null(float("nan")).to_numpy()
        matrix: Matrix = flat.reshape(len(lists), self.width).copy()
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(bad):
            raise UserError(
                f"{self._label}: {len(bad):,} of {len(lists):,} vectors hold a null, NaN or infinite number, first row "
                f"{bad[0]} (counted from 0); replace these numbers"
            )
        return matrix
