"""Which rows a rank trains on at which step: functions of seed, epoch, step, rank and world size alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from dssm_lightning.data.batching.permutation import Permutation
from dssm_lightning.data.interactions import Interactions, group
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import spans
from dssm_lightning.utils.seeding import Counter


class Shuffled:
    """The numbers 0 … total − 1 in another order in each epoch, so many at a step.

    Every rank permutes them alike and takes its own slice of each global batch; those that do not fill one are left to
    other epochs. With fewer than one global batch holds, an epoch is one smaller batch. The order of more than
    ``BLOCK`` numbers is never held: see :class:`~dssm_lightning.data.batching.permutation.Permutation`.

    Raises:
        ValueError: fewer numbers than ranks; the message calls them ``what``.
    """

    def __init__(self, total: int, what: str, size: int, place: Counter, world_size: int) -> None:
        if total < world_size:
            raise UserError(f"{total} training {what} are fewer than the {world_size} processes")
        self.total, self.place, self.world_size = total, place, world_size
        self.size = min(size, total // world_size)

    def __len__(self) -> int:
        return self.total // (self.size * self.world_size)

    def epoch(self, epoch: int, every_rank: bool = False) -> Callable[[int], Tensor]:
        """What gives the numbers (size,) of a step, or (W · size,) those of every rank."""
        shuffle = Counter(self.place.seed, epoch).generator("shuffle")
        if self.total > memory_mapped.BLOCK:
            number_at: Callable[[Tensor], Tensor] = Permutation(self.total, shuffle.initial_seed())
        else:
            number_at = torch.randperm(self.total, generator=shuffle).__getitem__

        def numbers(step: int) -> Tensor:
            start, ranks = (0, self.world_size) if every_rank else (self.place.process_rank, 1)
            start = (step * self.world_size + start) * self.size
            return number_at(torch.arange(start, start + ranks * self.size))

        return numbers


class RowOrder:
    """Batches of ``batch_size`` rows, shuffled anew in each epoch."""

    def __init__(self, rows: Tensor, batch_size: int, place: Counter, world_size: int) -> None:
        self.rows, self.shuffled = rows, Shuffled(len(rows), "rows", batch_size, place, world_size)

    def __len__(self) -> int:
        return len(self.shuffled)

    @property
    def expected_rows(self) -> float:
        """B, the rows of a batch on each rank."""
        return self.shuffled.size

    def epoch(self, epoch: int, every_rank: bool = False) -> Callable[[int], Tensor]:
        """What gives the rows (B,) of a step, on this rank or on all together."""
        numbers = self.shuffled.epoch(epoch, every_rank)
        return lambda step: self.rows[numbers(step)]


class QueryOrder:
    """Batches of ``batch_size`` queries with all their rows, oldest first, shuffled anew in each epoch.

    Args:
        rows: training rows of ``interactions``.
        interactions: the whole table.
        batch_size: queries in a batch on each rank.
        rows_per_query: at most so many consecutive rows of a query, from a place that each epoch draws anew; None =
            all.
        place: seed and rank.
        world_size: how many ranks there are.
    """

    def __init__(
        self,
        rows: Tensor,
        interactions: Interactions,
        batch_size: int,
        rows_per_query: int | None,
        place: Counter,
        world_size: int,
    ) -> None:
        query, time = gathered(interactions.query, rows), interactions.time
        by_query = group(query, rows, int(query.max()) + 1, None if time is None else gathered(time, rows))
        self.rows, lengths = by_query.values, by_query.lengths
        trained = lengths.nonzero().squeeze(1)
        self.start, self.lengths = by_query.offsets[trained], lengths[trained]
        self.rows_per_query, self.place = rows_per_query, place
        self.shuffled = Shuffled(len(trained), "queries", batch_size, place, world_size)

    def __len__(self) -> int:
        return len(self.shuffled)

    @property
    def expected_rows(self) -> float:
        """The mean number of rows of a batch on each rank: what a batch proposes on average depends on it."""
        kept = self.lengths if self.rows_per_query is None else self.lengths.clamp(max=self.rows_per_query)
        return self.shuffled.size * kept.double().mean().item()

    def epoch(self, epoch: int, every_rank: bool = False) -> Callable[[int], Tensor]:
        """What gives the rows (B,) of a step, on this rank or on all together; B differs from step to step."""
        numbers, start, lengths = self.shuffled.epoch(epoch, every_rank), self.start, self.lengths
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
