"""Embeddings that come with the data: from a language model, a graph, an earlier model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.errors import UserError

Matrix: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Vector(Feature):
    """A vector of numbers in each row, of one length throughout: (B, length) float32, as given.

    Raises:
        ValueError: a length below 1.
    """

    length: int | None = None
    """Numbers in each row; that of the first row unless it is given."""

    def __post_init__(self) -> None:
        if self.length is not None and self.length < 1:
            raise UserError(f"{self._label}: length must be at least 1, found {self.length}")

    @property
    def _label(self) -> str:
        return f"Vector feature {self.name!r}"

    @property
    def is_fitted(self) -> bool:
        """Whether the length is known."""
        return self.length is not None

    @property
    def width(self) -> int:
        """Floats for each row."""
        assert self.length is not None
        return self.length

    def fit(self, column: pl.Series) -> Vector:
        """A copy with the length of the first row's vector, which all rows must have.

        Raises:
            ValueError: as in :meth:`encode`; no row at all.
        """
        lists = self._lists(column)
        if len(lists) == 0:
            raise UserError(f"{self._label}: no row to learn the length from; give `length`")
        fitted = self if self.is_fitted else replace(self, length=lists.list.len()[0])
        fitted._matrix(lists)
        return fitted

    def encode(self, column: pl.Series) -> Tensor:
        """(B,) lists or arrays of numbers -> (B, length) float32.

        Raises:
            ValueError: a vector of another length, a missing vector, NaN or infinity in one, or no numbers at all.
        """
        return torch.from_numpy(self._matrix(self._lists(column)))

    def _lists(self, column: pl.Series) -> pl.Series:
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        numbers = isinstance(column.dtype, pl.List) and (
            column.dtype.inner.is_numeric() or column.dtype.inner == pl.Null
        )
        if not numbers:
            raise UserError(
                f"{self._label}: column {self.source_column!r} must hold lists or arrays of numbers, found "
                f"{column.dtype}"
            )
        missing = column.is_null().arg_true()
        if len(missing):
            raise UserError(
                f"{self._label}: {len(missing):,} of {len(column):,} rows have no vector, first row {missing[0]} "
                "(counted from 0); give each row one (zeros say nothing about it), or leave such rows out"
            )
        return column

    def _matrix(self, lists: pl.Series) -> Matrix:
        lengths = lists.list.len()
        wrong = (lengths != self.width).arg_true()
        if len(wrong):
            raise UserError(
                f"{self._label}: the vector in row {wrong[0]} (counted from 0) has length {lengths[wrong[0]]}, "
                f"expected {self.width} ({len(wrong):,} of {len(lists):,} rows have another length)"
            )
        flat = lists.explode().cast(pl.Float32).fill_null(float("nan")).to_numpy()
        matrix: Matrix = flat.reshape(len(lists), self.width).copy()
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(bad):
            raise UserError(
                f"{self._label}: {len(bad):,} of {len(lists):,} vectors hold a null, NaN or infinite number, first row "
                f"{bad[0]} (counted from 0); clean them before"
            )
        return matrix
