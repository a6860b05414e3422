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


def parts_of(columns: Arrays, count: int, most: int) -> list[Arrays]:
    """Return the rows of columns in parts of consecutive rows, so that each part needs little memory.

    Args:
        columns: of the same rows.
        count: B, the number of rows.
        most: values that a ragged column may have in a part if all its rows were as long as the longest. A part has at
            least one row.

    Example:
        >>> column = RaggedArray.from_lengths(np.arange(6), [1, 1, 3, 1])
        >>> [part["x"].lengths.tolist() for part in parts_of({"x": column}, 4, most=4)]
        [[1, 1], [3], [1]]
    """
    lengths = [column.lengths for column in columns.values() if isinstance(column, RaggedArray)]
    if count < 2 or not lengths or count * max(int(each.max()) for each in lengths) <= most:
        return [columns]
    starts, longest = [0], 0
    for row, length in enumerate(np.max(lengths, axis=0).tolist()):
        longest = max(longest, length)
        if row > starts[-1] and (row + 1 - starts[-1]) * longest > most:
            starts.append(row)
            longest = length
    stops = [*starts[1:], count]
    return [{name: _rows(each, *part) for name, each in columns.items()} for part in zip(starts, stops, strict=True)]


def _rows(column: ArrayColumn, start: int, stop: int) -> ArrayColumn:
    if not isinstance(column, RaggedArray):
        return column[start:stop]
    offsets = column.offsets[start : stop + 1]
    values = slice(int(offsets[0]), int(offsets[-1]))
    age = None if column.age is None else column.age[values]
    return RaggedArray(column.values[values], offsets - offsets[0], age, column.items)
