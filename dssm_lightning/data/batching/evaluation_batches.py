"""What evaluation, mining and prediction run over: the share of this process in the queries, events or corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.ranked_candidates import renumbered
from dssm_lightning.data.interactions import group
from dssm_lightning.utils.ragged import Features, Ragged, take

T = TypeVar("T")


@dataclass
class ShardedBatches(Generic[T]):
    """A sized iterable that makes one item for each slice of what a process_rank has of the numbers of all ranks.

    A process_rank that has none makes one empty item: it takes part in an evaluation, whose ends are collective.
    """

    make: Callable[[Tensor], T]
    numbers: Tensor
    size: int
    of_all: int

    def __len__(self) -> int:
        return max(-(-len(self.numbers) // self.size), min(1, self.of_all))

    def __iter__(self) -> Iterator[T]:
        for numbers in torch.split(self.numbers, self.size) if self.of_all else ():
            yield self.make(numbers)


def shard_queries(
    assembler: Assembler, fold: int, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """This process's queries of a fold, each once, with all of its relevant candidates."""
    interactions, num_queries = assembler.data.interactions, len(assembler.data.queries)
    liked, not_liked = interactions.rows(fold, label=1), interactions.rows(fold, label=0)
    relevant = group(interactions.query[liked], interactions.candidate[liked], num_queries)
    shown = group(interactions.query[not_liked], interactions.candidate[not_liked], num_queries)
    grade = interactions.grade
    graded = None if grade is None else group(interactions.query[liked], grade[liked], num_queries)
    queries = (relevant.lengths + shown.lengths).nonzero().squeeze(1)

    def make(numbers: Tensor) -> EvaluationBatch:
        query = queries[numbers]
        return EvaluationBatch(
            query=assembler.query_features(query),
            query_row=query,
            relevant=take(relevant, query),
            seen=take(assembler.likes.candidates, query),
            shown=None if interactions.label is None else take(shown, query),
            grade=None if graded is None else take(graded, query).values,
        )

    return ShardedBatches(
        make, _in_turn(len(queries), process_rank, world_size), _queries_at_once(assembler), len(queries)
    )


def shard_evaluation(
    assembler: Assembler, fold: int, by: str, ranked: Tensor | None, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """This process's share of a fold to be ranked.

    Args:
        assembler: of the data.
        fold: which one.
        by: "query" or "event".
        ranked: (M,) corpus rows, ascending; candidates are numbered by their place among them. None = the whole corpus.
        process_rank: of this process.
        world_size: how many ranks there are.
    """
    slices = (shard_queries if by == "query" else shard_events)(assembler, fold, process_rank, world_size)
    if ranked is None:
        return slices
    make, place = slices.make, torch.full((len(assembler.data.candidates),), -1)
    place[ranked] = torch.arange(len(ranked))
    return replace(slices, make=lambda numbers: renumbered(make(numbers), place))


def shard_mining_queries(
    assembler: Assembler, queries: Tensor, process_rank: int, world_size: int
) -> ShardedBatches[tuple[Tensor, Features]]:
    """This process's share of the queries (P,) that hard negatives are mined for, with their features."""

    def make(numbers: Tensor) -> tuple[Tensor, Features]:
        return queries[numbers], assembler.query_features(queries[numbers])

    return ShardedBatches(
        make, _in_turn(len(queries), process_rank, world_size), _queries_at_once(assembler), len(queries)
    )


def shard_events(
    assembler: Assembler, fold: int, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """This process's events of a fold, each once, with its own context and its own candidate to be found."""
    interactions = assembler.data.interactions
    events = interactions.rows(fold)

    def make(numbers: Tensor) -> EvaluationBatch:
        rows = events[numbers]
        query, candidate = interactions.query[rows], interactions.candidate[rows]
        liked = torch.ones(len(rows), dtype=torch.bool) if interactions.label is None else interactions.label[rows] > 0
        return EvaluationBatch(
            query=assembler.event_features(rows),
            query_row=query,
            relevant=_chosen(candidate, liked),
            seen=take(assembler.likes.candidates, query),
            shown=None if interactions.label is None else _chosen(candidate, ~liked),
            row=rows,
            grade=None if interactions.grade is None else interactions.grade[rows[liked]],
        )

    return ShardedBatches(
        make, _in_turn(len(events), process_rank, world_size), _queries_at_once(assembler), len(events)
    )


def _in_turn(total: int, process_rank: int, world_size: int) -> Tensor:
    """The numbers of a process_rank where ranks take turns."""
    return torch.arange(min(process_rank, total), total, world_size)


def _chosen(values: Tensor, chosen: Tensor) -> Ragged:
    """Rows of one value where chosen, of none elsewhere."""
    return Ragged(values[chosen], F.pad(chosen.cumsum(0), (1, 0)))


def _queries_at_once(assembler: Assembler) -> int:
    """So many queries that their scores take 64 MiB at most, but 32 at least.

    A product of fewer rows with the corpus waits for memory, not for the processor; the scores of 32 take a quarter of
    what the embeddings of the corpus take at D = 128.
    """
    return max(32, min(1024, 2**24 // len(assembler.data.candidates)))


def shard_corpus(
    assembler: Assembler, rows: Tensor | None, process_rank: int, world_size: int
) -> ShardedBatches[Features]:
    """Features of these corpus rows (M,), or of the whole corpus: this process's contiguous share, in order."""
    if rows is None:
        return shard_features(assembler.candidate_features, len(assembler.data.candidates), process_rank, world_size)
    return shard_features(
        lambda numbers: assembler.candidate_features(rows[numbers]), len(rows), process_rank, world_size
    )


def shard_features(
    make: Callable[[Tensor], Features], total: int, process_rank: int, world_size: int
) -> ShardedBatches[Features]:
    """Features of what is numbered 0 … total − 1: this process's contiguous share, in order."""
    share = -(-total // world_size)
    own = torch.arange(min(total, process_rank * share), min(total, (process_rank + 1) * share))
    return ShardedBatches(make, own, 1024, total)
