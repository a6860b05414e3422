"""The vectors of a corpus, held as float32, float16 or int8, and read as float32, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
"""An array of float32."""
Places = NDArray[np.int64]
"""Places of vectors in a store, 0 … N − 1."""
_ROWS = 65_536  # converted at once


class RowStore(Protocol):
    """N vectors of width D that are read as float32."""

    def __len__(self) -> int:
        """Return N."""

    @property
    def num_bytes(self) -> int:
        """Return the memory that the vectors take."""

    def tile(self, start: int, stop: int) -> Floats:
        """Return the vectors at the places start … stop − 1."""

    def take(self, places: Places) -> Floats:
        """Return the vectors at these places."""


@dataclass(frozen=True)
class FloatRows:
    """Vectors as float32 or float16; an array that is mapped from a file stays there.

    Example:
        >>> FloatRows(np.eye(3, dtype=np.float16)).take(np.array([2])).tolist()
        [[0.0, 0.0, 1.0]]
    """

    values: NDArray[Any]  # (N, D)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def num_bytes(self) -> int:
        """Return the memory that the vectors take."""
        return self.values.nbytes

    def tile(self, start: int, stop: int) -> Floats:
        """Return the vectors at the places start … stop − 1."""
        return self.values[start:stop].astype(np.float32, copy=False)

    def take(self, places: Places) -> Floats:
        """Return the vectors at these places."""
        return np.take(self.values, places, axis=0).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Int8Rows:
    """Vectors as int8 with one scale for each vector: its greatest number becomes 127.

    On random, clustered, low-rank and unevenly scaled vectors one scale for each vector kept more of the true top 100
    than one scale for each dimension, or a single one.

    Example:
        >>> rows = Int8Rows.of(np.array([[0.5, -1.0]], dtype=np.float32))
        >>> rows.codes.tolist()
        [[64, -127]]
    """

    codes: NDArray[np.int8]  # (N, D)
    scales: Floats  # (N,)

    @classmethod
    def of(cls, vectors: Floats) -> Int8Rows:
        """Return the codes of vectors (N, D)."""
        codes, scales = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32)
        for start, part in parts_of(vectors):
            greatest = np.abs(part).max(1)
            scale = np.where(greatest > 0, greatest, 1).astype(np.float32) / np.float32(127)
            scale = np.maximum(scale, np.finfo(np.float32).tiny)  # a vector of tiny numbers
            codes[start : start + len(part)] = np.clip(np.rint(part / scale[:, None]), -127, 127)
            scales[start : start + len(part)] = scale
        return cls(codes, scales)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_bytes(self) -> int:
        """Return the memory that the vectors take."""
        return self.codes.nbytes + self.scales.nbytes

    def tile(self, start: int, stop: int) -> Floats:
        """Return the vectors at the places start … stop − 1."""
        return self._decoded(self.codes[start:stop], self.scales[start:stop])

    def take(self, places: Places) -> Floats:
        """Return the vectors at these places."""
        return self._decoded(np.take(self.codes, places, axis=0), np.take(self.scales, places))

    def _decoded(self, codes: NDArray[np.int8], scales: Floats) -> Floats:
        decoded = codes.astype(np.float32)
        decoded *= scales[:, None]
        return decoded


def parts_of(vectors: Floats) -> Iterator[tuple[int, Floats]]:
    """Yield the places at which blocks of rows start, and the blocks.

    Example:
        >>> [(start, len(part)) for start, part in parts_of(np.zeros((70_000, 1), np.float32))]
        [(0, 65536), (65536, 4464)]
    """
    for start in range(0, len(vectors), _ROWS):
        yield start, vectors[start : start + _ROWS]
