"""Columns of rows of different length, and how rows are taken from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Ragged(NamedTuple):
    """Rows of different length: row i is ``values[offsets[i] : offsets[i + 1]]``."""

    values: Tensor  # (T,)
    offsets: Tensor  # (B + 1,) int64, starts at 0, ends at T
    age: Tensor | None = None  # (T,) float32: how long before its event a history entry happened; None elsewhere
    items: Features | Tensor | None = None
    # What the values number, in a history of whole candidates: features of H distinct ones, for which TwoTower puts
    # their embeddings (H, D); None = ids, for a table of the encoder's own

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Tensor) -> Ragged:
        """Rows of these lengths (B,) int64, one after the other in ``values`` (T,)."""
        return cls(values, F.pad(lengths.cumsum(0), (1, 0)))

    @property
    def lengths(self) -> Tensor:
        """(B,) number of values in each row."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def rows(self) -> Tensor:
        """(T,) the row that each value belongs to."""
        return torch.repeat_interleave(
            torch.arange(len(self.offsets) - 1, device=self.offsets.device), self.lengths, output_size=len(self.values)
        )

    def only(self, kept: Tensor) -> Ragged:
        """Each row without the values that are not kept (T,)."""
        counted = torch.nn.functional.pad(kept.cumsum(0), (1, 0))  # (T + 1,)
        age = None if self.age is None else self.age[kept]
        return Ragged(self.values[kept], counted[self.offsets], age, self.items)


class Prefixes(NamedTuple):
    """Histories of B events that share S sequences: event i has seen the first ``length[i]`` entries of one of them.

    What reads a sequence from the old to the new reads it once for all of its events.
    """

    sequences: Ragged  # S rows, oldest first; ages are counted from the sequence's last event
    sequence: Tensor  # (B,) int64: whose events they are
    length: Tensor  # (B,) int64: how many entries each has seen
    now: Tensor  # (B,) float32: how long before the sequence's last event each happened, in the unit of the ages

    def expand(self) -> Ragged:
        """B rows: each event's own history."""
        index, offsets = spans(self.sequences.offsets[self.sequence], self.length)
        age = self.sequences.age
        if age is not None:
            age = age[index] - torch.repeat_interleave(self.now, self.length)
        return Ragged(self.sequences.values[index], offsets, age, self.sequences.items)


Column: TypeAlias = Tensor | Ragged | Prefixes
Features: TypeAlias = dict[str, Column]


def spans(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Several stretches of consecutive numbers, one after the other: (T,) the numbers, (B + 1,) where each begins."""
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
    """The given rows of a column, gathered without a loop."""
    if isinstance(column, Tensor):
        return column.index_select(0, rows)  # up to several times as fast as [rows]
    if isinstance(column, Prefixes):
        return Prefixes(column.sequences, column.sequence[rows], column.length[rows], column.now[rows])
    starts = column.offsets.index_select(0, rows)
    ends = column.offsets.index_select(0, rows + 1)
    index, offsets = spans(starts, ends.sub_(starts))  # without a pass over the whole column
    age = None if column.age is None else column.age.index_select(0, index)
    return Ragged(column.values.index_select(0, index), offsets, age, column.items)


def take_features(features: Features, rows: Tensor) -> Features:
    """The given rows of every column."""
    return {name: take(column, rows) for name, column in features.items()}


def row_chunks(features: Features, size: int) -> Iterator[Features]:
    """The rows, at most so many at a time."""
    column = next(iter(features.values()))
    there = column if isinstance(column, Tensor) else column[1]  # offsets, or whose events they are
    for rows in torch.split(torch.arange(num_rows(features), device=there.device), size):
        yield take_features(features, rows)


def pad_rows_to(features: Features, rows: int, device: torch.device) -> Features:
    """The same rows, the last one again until there are so many; none stays none.

    A product of few rows may run through another kernel, which rounds otherwise: near-ties would then fall differently
    with how many rows happen to stand together.
    """
    total = num_rows(features)
    if total == 0 or total >= rows:
        return features
    return take_features(features, torch.arange(rows, device=device).clamp(max=total - 1))


def embed_items(column: Column, embed: Callable[[Features], Tensor]) -> Column:
    """The column, with embeddings in place of the candidates that its values number, if they do."""
    entries = column.sequences if isinstance(column, Prefixes) else column
    if not isinstance(entries, Ragged) or not isinstance(entries.items, dict):
        return column
    embedded = entries._replace(items=embed(entries.items))
    return column._replace(sequences=embedded) if isinstance(column, Prefixes) else embedded


def concatenate_into(parts: Iterable[Tensor], total: int) -> Tensor:
    """``torch.cat`` of parts (n, …), at least one, of so many rows together, in the memory of the result.

    The parts themselves are never there all at once, as they would be in a list.
    """
    made, rows = torch.empty(0), 0
    for part in parts:
        made = part.new_empty((total, *part.shape[1:])) if rows == 0 else made
        made[rows : rows + len(part)] = part
        rows += len(part)
    assert rows == total
    return made


def num_rows(features: Features) -> int:
    """How many rows the columns have."""
    column = next(iter(features.values()))
    if isinstance(column, Ragged):
        return len(column.offsets) - 1
    return len(column if isinstance(column, Tensor) else column.sequence)


def to_device(features: Features, device: torch.device) -> Features:
    """The columns on a device."""
    return features if device.type == "cpu" else {name: _moved(column, device) for name, column in features.items()}


def _moved(part: Any, device: torch.device) -> Any:
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, dict):
        return {name: _moved(column, device) for name, column in part.items()}
    return None if part is None else type(part)(*(_moved(field, device) for field in part))
