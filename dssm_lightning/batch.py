"""What flows from the data to the loss: named tuples of tensors, nothing else.

Shape letters, project-wide: B rows in a batch on one rank · Q queries scored · C candidates scored · N corpus size ·
D embedding width · L list length · W ranks · T values of a ragged column.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, overload

import torch
from torch import Tensor


class Ragged(NamedTuple):
    """Rows of different length: row i is ``values[offsets[i] : offsets[i + 1]]``."""

    values: Tensor  # (T,)
    offsets: Tensor  # (B + 1,) int64, starts at 0, ends at T
    age: Tensor | None = None  # (T,) float32: how long before its event a history entry happened; None elsewhere

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


Column: TypeAlias = Tensor | Ragged
Features: TypeAlias = dict[str, Column]


class Candidates(NamedTuple):
    """C *distinct* candidates of a batch: its positives and what was drawn, each once."""

    features: Features  # (C, …)
    id: Tensor  # (C,) int64 corpus rows, strictly ascending
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count
    # (C,) float32: how many rows of the batch own this candidate (0 for one that was only drawn)
    log_q: Tensor  # (C,) float32: log of the expected number of times a batch proposes it, log(B·p + n·q)


class Batch(NamedTuple):
    """One training batch."""

    query: Features  # (B, …)
    candidates: Candidates
    target: Tensor  # (B,) int64: the column of each row's own candidate
    negatives: Tensor | None  # (B, n) int64: the columns that count as this row's negatives; None = every column does
    known: Ragged | None  # corpus rows that each query is known to like: never its negatives
    label: Tensor | None  # (B,) float32: 1 liked / 0 shown and not liked; None = all liked
    weight: Tensor | None  # (B,) float32
    row: Tensor  # (B,) int64: the rows of the interaction table, for messages and for mining


class EvaluationBatch(NamedTuple):
    """Queries to be ranked against the whole corpus, with what is relevant to each."""

    query: Features  # (Q, …)
    query_row: Tensor  # (Q,) int64 rows of the query table
    relevant: Ragged  # corpus rows to be found
    seen: Ragged  # corpus rows liked in training, disjoint from relevant
    shown: Ragged | None  # corpus rows shown and not liked (label 0); None where the data has no labels


@overload
def take(column: Tensor, rows: Tensor) -> Tensor: ...
@overload
def take(column: Ragged, rows: Tensor) -> Ragged: ...
def take(column: Column, rows: Tensor) -> Column:
    """The given rows of a column, gathered without a loop."""
    if isinstance(column, Tensor):
        return column[rows]
    starts = column.offsets[rows]
    lengths = column.offsets[rows + 1] - starts  # (B,) without a pass over the whole column
    offsets = torch.zeros(len(rows) + 1, dtype=torch.int64, device=column.offsets.device)
    torch.cumsum(lengths, 0, out=offsets[1:])
    shift = torch.repeat_interleave(starts - offsets[:-1], lengths)
    index = torch.arange(len(shift), device=shift.device) + shift  # (T,)
    age = None if column.age is None else column.age.index_select(0, index)
    return Ragged(column.values.index_select(0, index), offsets, age)  # twice as fast as [index]


def take_features(features: Features, rows: Tensor) -> Features:
    """The given rows of every column."""
    return {name: take(column, rows) for name, column in features.items()}


def num_rows(features: Features) -> int:
    """How many rows the columns have."""
    column = next(iter(features.values()))
    return len(column) if isinstance(column, Tensor) else len(column.offsets) - 1


def to_device(features: Features, device: torch.device) -> Features:
    """The columns on a device."""
    if device.type == "cpu":
        return features

    def move(column: Column) -> Column:
        if isinstance(column, Tensor):
            return column.to(device)
        return Ragged(*(None if part is None else part.to(device) for part in column))  # type: ignore[arg-type]  # field by field

    return {name: move(column) for name, column in features.items()}
