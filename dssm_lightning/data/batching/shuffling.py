"""The rows of each training step: a function of seed, epoch, step, process and number of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from dssm_lightning.data.batching.permutation import Permutation
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, spans
from dssm_lightning.utils.seeding import Counter


class Shuffled:
    """The numbers 0 … total − 1 in a new order in each epoch, ``size`` numbers per step.

    All processes use the same order, and each takes its own slice of each global batch. Numbers that do not fill a
    global batch are left out in this epoch. If there are fewer numbers than a global batch has, an epoch is one smaller
    batch. An order of more than ``BLOCK`` numbers is not stored:
    see :class:`~dssm_lightning.data.batching.permutation.Permutation`.

    Args:
        total: number of numbers.
        unit: their name in the message, "rows" or "queries".
        size: numbers of a step in each process.
        place: seed and process.
        world_size: number of processes.

    Raises:
        UserError: fewer numbers than processes.

    Example:
        >>> shuffled = Shuffled(10, "rows", size=3, place=Counter(seed=0), world_size=1)
        >>> numbers = shuffled.epoch(0)
        >>> len(shuffled), len({*numbers(0).tolist(), *numbers(1).tolist(), *numbers(2).tolist()})
        (3, 9)
    """

    def __init__(self, total: int, unit: str, size: int, place: Counter, world_size: int) -> None:
        if total < world_size:
            raise UserError(f"{total} training {unit} are fewer than the {world_size} processes")
        self.total, self.place, self.world_size = total, place, world_size
        self.size = min(size, total // world_size)

    def __len__(self) -> int:
        return self.total // (self.size * self.world_size)

    def epoch(self, epoch: int, all_processes: bool = False) -> Callable[[int], Tensor]:
        """Return the function from a step to its numbers: (size,) of this process, or (W · size,) of all processes."""
        shuffle = Counter(self.place.seed, epoch).generator("shuffle")
        if self.total > memory_mapped.BLOCK:
            number_at: Callable[[Tensor], Tensor] = Permutation(self.total, shuffle.initial_seed())
        else:
            number_at = torch.randperm(self.total, generator=shuffle).__getitem__

        def numbers(step: int) -> Tensor:
            first, processes = (0, self.world_size) if all_processes else (self.place.process_rank, 1)
            start = (step * self.world_size + first) * self.size
            return number_at(torch.arange(start, start + processes * self.size))

        return numbers


class RowOrder:
    """Batches of ``batch_size`` rows, in a new order in each epoch.

    Args:
        rows: the training rows.
        batch_size: rows of a batch in each process.
        place: seed and process.
        world_size: number of processes.

    Example:
        >>> order = RowOrder(torch.arange(100, 108), batch_size=4, place=Counter(seed=0), world_size=1)
        >>> rows = order.epoch(0)
        >>> sorted(rows(0).tolist() + rows(1).tolist())
        [100, 101, 102, 103, 104, 105, 106, 107]
    """

    def __init__(self, rows: Tensor, batch_size: int, place: Counter, world_size: int) -> None:
        self.rows, self.shuffled = rows, Shuffled(len(rows), "rows", batch_size, place, world_size)

    def __len__(self) -> int:
        return len(self.shuffled)

    @property
    def expected_rows(self) -> float:
        """B, the number of rows of a batch in each process."""
        return self.shuffled.size

    def epoch(self, epoch: int, all_processes: bool = False) -> Callable[[int], Tensor]:
        """Return the function from a step to its rows: (B,) of this process, or (W · B,) of all processes."""
        numbers = self.shuffled.epoch(epoch, all_processes)
        return lambda step: self.rows[numbers(step)]


class QueryOrder:
    """Batches of ``batch_size`` queries with all their rows, oldest first, in a new order in each epoch.

    Args:
        rows: the training rows of each query, in their order.
        batch_size: queries of a batch in each process.
        rows_per_query: largest number of consecutive rows of a query, from a random start in each epoch; None = all.
        place: seed and process.
        world_size: number of processes.

    Example:
        >>> rows = Ragged.from_lengths(torch.tensor([0, 2, 1]), torch.tensor([2, 1]))
        >>> order = QueryOrder(rows, batch_size=2, rows_per_query=None, place=Counter(seed=0), world_size=1)
        >>> len(order), sorted(order.epoch(0)(0).tolist())
        (1, [0, 1, 2])
    """

    def __init__(
        self,
        rows: Ragged,
        batch_size: int,
        rows_per_query: int | None,
        place: Counter,
        world_size: int,
    ) -> None:
        self.rows, lengths = rows.values, rows.lengths
        trained = lengths.nonzero().squeeze(1)
        self.start, self.lengths = rows.offsets[trained], lengths[trained]
        self.rows_per_query, self.place = rows_per_query, place
        self.shuffled = Shuffled(len(trained), "queries", batch_size, place, world_size)

    def __len__(self) -> int:
        return len(self.shuffled)

    @property
    def expected_rows(self) -> float:
        """B, the mean number of rows of a batch in each process, on which ``log_q`` depends."""
        kept = self.lengths if self.rows_per_query is None else self.lengths.clamp(max=self.rows_per_query)
        return self.shuffled.size * kept.double().mean().item()

    def epoch(self, epoch: int, all_processes: bool = False) -> Callable[[int], Tensor]:
        """Return the function from a step to its rows (B,), of this process or of all; B varies between steps."""
        numbers, start, lengths = self.shuffled.epoch(epoch, all_processes), self.start, self.lengths
        if self.rows_per_query is not None:
            kept = lengths.clamp(max=self.rows_per_query)
            generator = Counter(self.place.seed, epoch).generator("window")
            phase = torch.rand(len(lengths), dtype=torch.float64, generator=generator)
            start, lengths = start + (phase * (lengths - kept + 1)).long(), kept

        def rows(step: int) -> Tensor:
            queries = numbers(step)
            return self.rows[spans(start[queries], lengths[queries])[0]]

        return rows


Order: TypeAlias = RowOrder | QueryOrder
