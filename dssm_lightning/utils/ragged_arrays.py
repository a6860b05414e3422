"""Columns as NumPy arrays: what ``ragged.py`` is for tensors, where torch is not loaded."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray


class RaggedArray(NamedTuple):
    """Rows of different lengths: row i is ``values[offsets[i] : offsets[i + 1]]``.

    The fields are those of :class:`~dssm_lightning.utils.ragged.Ragged`, which ``as_tensors`` makes of it.

    Example:
        >>> column = RaggedArray.from_lengths(np.array([5, 7, 9]), [2, 0, 1])
        >>> column.offsets.tolist(), column.lengths.tolist(), column.rows.tolist()
        ([0, 2, 2, 3], [2, 0, 1], [0, 0, 2])
    """

    values: NDArray[Any]  # (T,)
    offsets: NDArray[np.int64]  # (B + 1,) starts at 0, ends at T
    age: NDArray[np.float32] | None = None  # (T,) time between a history entry and its event; None in other columns
    items: Arrays | NDArray[Any] | None = None
    # Only in a history of whole candidates: the features of the H candidates that ``values`` index, or their
    # embeddings (H, D).

    @classmethod
    def from_lengths(cls, values: NDArray[Any], lengths: NDArray[np.int64] | list[int]) -> RaggedArray:
        """Make rows of the given lengths (B,) from consecutive ``values`` (T,)."""
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) number of values in each row."""
        lengths: NDArray[np.int64] = self.offsets[1:] - self.offsets[:-1]
        return lengths

    @property
    def rows(self) -> NDArray[np.int64]:
        """(T,) row number of each value."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def only(self, kept: NDArray[np.bool_]) -> RaggedArray:
        """Remove from every row the values where ``kept`` (T,) is false.

        Example:
            >>> RaggedArray.from_lengths(np.array([5, 7, 9]), [2, 1]).only(np.array([True, False, True])).lengths
            array([1, 1])
        """
        kept_before = np.zeros(len(kept) + 1, np.int64)
        np.cumsum(kept, out=kept_before[1:])
        age = None if self.age is None else self.age[kept]
        return RaggedArray(self.values[kept], kept_before[self.offsets], age, self.items)


ArrayColumn: TypeAlias = NDArray[Any] | RaggedArray
Arrays: TypeAlias = dict[str, ArrayColumn]
