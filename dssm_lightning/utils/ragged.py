"""Columns whose rows have different lengths, and functions that select, move and concatenate rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias, cast, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Ragged(NamedTuple):
    """Rows of different lengths: row i is ``values[offsets[i] : offsets[i + 1]]``.

    Example:
        >>> column = Ragged.from_lengths(torch.tensor([5, 7, 9]), torch.tensor([2, 0, 1]))
        >>> column.offsets.tolist(), column.rows.tolist()
        ([0, 2, 2, 3], [0, 0, 2])
        >>> take(column, torch.tensor([2, 0])).values.tolist()
        [9, 5, 7]
    """

    values: Tensor  # (T,)
    offsets: Tensor  # (B + 1,) int64, starts at 0, ends at T
    age: Tensor | None = None  # (T,) float32: time between a history entry and its event; None in other columns
    items: Features | Tensor | None = None
    # Only in a history of whole candidates: the features of the H distinct candidates that ``values`` index. TwoTower
    # replaces the features with the candidates' embeddings (H, D). None: ``values`` index the encoder's own table.

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Tensor) -> Ragged:
        """Make rows of the given lengths (B,) int64 from consecutive ``values`` (T,)."""
        return cls(values, F.pad(lengths.cumsum(0), (1, 0)))

    @property
    def lengths(self) -> Tensor:
        """(B,) number of values in each row."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def rows(self) -> Tensor:
        """(T,) row number of each value."""
        if torch.compiler.is_exporting():  # ONNX has no repeat_interleave: count the rows that began before each value
            begins = self.offsets.new_zeros(self.values.shape[0] + 1)
            begins = begins.index_add(0, self.offsets[1:-1], torch.ones_like(self.offsets[1:-1]))
            return begins.cumsum(0)[:-1]
        return torch.repeat_interleave(
            torch.arange(len(self.offsets) - 1, device=self.offsets.device), self.lengths, output_size=len(self.values)
        )

    def of_rows(self, numbers: Tensor) -> Tensor:
        """(B,) one number for each row -> (T,) the number of each value's row."""
        if torch.compiler.is_exporting():
            return numbers[self.rows]
        return torch.repeat_interleave(numbers, self.lengths, output_size=len(self.values))

    @property
    def longest(self) -> int:
        """Length of the longest row; an exported program, whose loops need a step, has at least 1."""
        lengths = self.lengths
        if torch.compiler.is_exporting():  # a size that is data: a number of which the exporter knows the least value
            steps = F.pad(lengths, (0, 1)).amax(0).clamp(min=1).item()
            torch._check(steps >= 1)
            return cast(int, steps)  # int() would ask for its value
        return int(lengths.max()) if len(lengths) else 0

    def only(self, kept: Tensor) -> Ragged:
        """Remove from every row the values where ``kept`` (T,) bool is false."""
        kept_before = F.pad(kept.cumsum(0), (1, 0))  # (T + 1,)
        age = None if self.age is None else self.age[kept]
        return Ragged(self.values[kept], kept_before[self.offsets], age, self.items)


class Prefixes(NamedTuple):
    """Histories of B events over S shared sequences: event i sees the first ``length[i]`` entries of its sequence.

    An encoder that reads from the oldest entry to the newest reads each sequence once for all of its events.

    Example:
        >>> sequences = Ragged.from_lengths(torch.tensor([5, 7, 9]), torch.tensor([3]))
        >>> events = Prefixes(sequences, torch.tensor([0, 0]), torch.tensor([1, 3]), torch.zeros(2))
        >>> events.expand().values.tolist(), events.expand().lengths.tolist()
        ([5, 5, 7, 9], [1, 3])
    """

    sequences: Ragged  # S rows, oldest entry first; ages count back from the sequence's last event
    sequence: Tensor  # (B,) int64: the sequence of each event
    length: Tensor  # (B,) int64: number of entries that each event sees
    now: Tensor  # (B,) float32: time from each event to its sequence's last event, in the unit of the ages

    def expand(self) -> Ragged:
        """Return B rows: each event's own history."""
        index, offsets = spans(self.sequences.offsets[self.sequence], self.length)
        age = self.sequences.age
        if age is not None:
            age = age[index] - torch.repeat_interleave(self.now, self.length)
        return Ragged(self.sequences.values[index], offsets, age, self.sequences.items)


Column: TypeAlias = Tensor | Ragged | Prefixes
Features: TypeAlias = dict[str, Column]


def spans(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate ranges of consecutive integers: (T,) the integers, (B + 1,) where each range begins.

    Example:
        >>> numbers, offsets = spans(torch.tensor([7, 2]), torch.tensor([2, 3]))
        >>> numbers.tolist(), offsets.tolist()
        ([7, 8, 2, 3, 4], [0, 2, 5])
    """
    if lengths.device.type == "cpu":  # NumPy takes half the time
        counts = lengths.numpy()
        ends = counts.cumsum()
        numbers = np.repeat(starts.numpy() - ends + counts, counts)
        numbers += np.arange(len(numbers))
        return torch.from_numpy(numbers), F.pad(torch.from_numpy(ends), (1, 0))
    stops = lengths.cumsum(0)
    jumps = torch.repeat_interleave(starts - stops + lengths, lengths)
    return jumps.add_(torch.arange(len(jumps), device=jumps.device)), F.pad(stops, (1, 0))


@overload
def take(column: Tensor, rows: Tensor) -> Tensor: ...
@overload
def take(column: Ragged, rows: Tensor) -> Ragged: ...
@overload
def take(column: Prefixes, rows: Tensor) -> Prefixes: ...
def take(column: Column, rows: Tensor) -> Column:
    """Return the given rows of a column, without a loop over rows."""
    if isinstance(column, Tensor):
        return column.index_select(0, rows)  # up to several times as fast as [rows]
    if isinstance(column, Prefixes):
        return Prefixes(column.sequences, column.sequence[rows], column.length[rows], column.now[rows])
    starts = column.offsets.index_select(0, rows)
    ends = column.offsets.index_select(0, rows + 1)
    index, offsets = spans(starts, ends.sub_(starts))  # reads the chosen rows only, not the whole column
    age = None if column.age is None else column.age.index_select(0, index)
    return Ragged(column.values.index_select(0, index), offsets, age, column.items)


def take_features(features: Features, rows: Tensor) -> Features:
    """Return the given rows of every column."""
    return {name: take(column, rows) for name, column in features.items()}


def row_chunks(features: Features, size: int) -> Iterator[Features]:
    """Yield the rows in chunks of at most ``size`` rows."""
    column = next(iter(features.values()))
    device = (column if isinstance(column, Tensor) else column[1]).device  # [1]: offsets, or sequence numbers
    for rows in torch.split(torch.arange(num_rows(features), device=device), size):
        yield take_features(features, rows)


def pad_rows_to(features: Features, rows: int, device: torch.device) -> Features:
    """Pad to ``rows`` rows by repeating the last one; an empty batch stays empty.

    A matrix product with few rows may run through another kernel, which rounds differently. The order of near-ties
    would then depend on the batch size.
    """
    total = num_rows(features)
    if total == 0 or total >= rows:
        return features
    return take_features(features, torch.arange(rows, device=device).clamp(max=total - 1))


def embed_items(column: Column, embed: Callable[[Features], Tensor]) -> Column:
    """Replace the candidate features in a history of whole candidates by embeddings; return other columns unchanged."""
    entries = column.sequences if isinstance(column, Prefixes) else column
    if not isinstance(entries, Ragged) or not isinstance(entries.items, dict):
        return column
    embedded = entries._replace(items=embed(entries.items))
    return column._replace(sequences=embedded) if isinstance(column, Prefixes) else embedded


def concatenate_into(parts: Iterable[Tensor], total: int) -> Tensor:
    """Concatenate parts (n, …), at least one, that have ``total`` rows together.

    Unlike ``torch.cat``, it copies each part into the result at once, so that an iterator's parts need not be in memory
    together.
    """
    result, rows = torch.empty(0), 0
    for part in parts:
        result = part.new_empty((total, *part.shape[1:])) if rows == 0 else result
        result[rows : rows + len(part)] = part
        rows += len(part)
    assert rows == total
    return result


def num_rows(features: Features) -> int:
    """Return the number of rows, which all columns share."""
    column = next(iter(features.values()))
    if isinstance(column, Ragged):
        return column.offsets.shape[0] - 1  # len() would fix the size in an exported program
    return (column if isinstance(column, Tensor) else column.sequence).shape[0]


def to_device(features: Features, device: torch.device) -> Features:
    """Move the columns to a device; for the CPU, return them unchanged."""
    return features if device.type == "cpu" else {name: _moved(column, device) for name, column in features.items()}


def _moved(part: Any, device: torch.device) -> Any:
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, dict):
        return {name: _moved(column, device) for name, column in part.items()}
    return None if part is None else type(part)(*(_moved(field, device) for field in part))
