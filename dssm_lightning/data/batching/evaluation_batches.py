"""Batches for evaluation, mining and prediction: the share of this process in the queries, events or corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.candidate_lists import CandidateLists, candidate_lists
from dssm_lightning.data.batching.ranked_candidates import renumber_candidates
from dssm_lightning.data.interactions import group
from dssm_lightning.utils.ragged import Features, Ragged, take

T = TypeVar("T")

CORPUS_BATCH_SIZE = 1024
MAX_SCORES = 2**24
"""Number of float32 scores in 64 MiB."""
MAX_LISTED = 2**16
"""Pairs of a query and a candidate of its list that are scored at once; their embeddings are in memory."""


@dataclass
class ShardedBatches(Generic[T]):
    """A sized iterable over the batches of one process.

    A process without any number makes one empty batch, because an evaluation ends with collective operations.

    Args:
        make: makes a batch from numbers (n,).
        numbers: the numbers of this process, such as rows of the query table.
        batch_size: largest n.
        total: number of numbers of all processes together.

    Example:
        >>> batches = ShardedBatches(torch.Tensor.tolist, torch.tensor([1, 3, 5, 7, 9]), batch_size=2, total=10)
        >>> len(batches), list(batches)
        (3, [[1, 3], [5, 7], [9]])
    """

    make: Callable[[Tensor], T]
    numbers: Tensor
    batch_size: int
    total: int

    def __len__(self) -> int:
        return max(-(-len(self.numbers) // self.batch_size), min(1, self.total))

    def __iter__(self) -> Iterator[T]:
        for numbers in torch.split(self.numbers, self.batch_size) if self.total else ():
            yield self.make(numbers)


# -- queries and events to rank ---------------------------------------------------------------------------------------


def shard_evaluation(
    assembler: Assembler, fold: int, by: str, ranked: Tensor | None, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """Return this process's share of a fold that is ranked.

    Args:
        assembler: assembles the features.
        fold: VALIDATION or TEST.
        by: "query", "event" or "listed".
        ranked: (M,) corpus rows, ascending; batches number candidates by their place among them. None = the whole
            corpus.
        process_rank: number of this process.
        world_size: number of processes.
    """
    if by == "listed":
        batches = shard_lists(assembler, candidate_lists(assembler, fold), process_rank, world_size)
    else:
        batches = (shard_queries if by == "query" else shard_events)(assembler, fold, process_rank, world_size)
    if ranked is None:
        return batches
    make, place = batches.make, torch.full((len(assembler.data.candidates),), -1)
    place[ranked] = torch.arange(len(ranked))
    return replace(batches, make=lambda numbers: renumber_candidates(make(numbers), place))


def shard_queries(
    assembler: Assembler, fold: int, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """Return this process's queries of a fold, each once, with all of its relevant candidates."""
    interactions, num_queries = assembler.data.interactions, len(assembler.data.queries)
    liked, not_liked = interactions.rows(fold, label=1), interactions.rows(fold, label=0)
    relevant = group(interactions.query[liked], interactions.candidate[liked], num_queries)
    shown = group(interactions.query[not_liked], interactions.candidate[not_liked], num_queries)
    grade = interactions.grade
    grades = None if grade is None else group(interactions.query[liked], grade[liked], num_queries)
    several = None
    if interactions.objectives is not None:
        several = group(interactions.query[liked], interactions.objectives[liked], num_queries)
    queries = (relevant.lengths + shown.lengths).nonzero().squeeze(1)

    def make(numbers: Tensor) -> EvaluationBatch:
        query = queries[numbers]
        return EvaluationBatch(
            query=assembler.query_features(query),
            query_row=query,
            relevant=take(relevant, query),
            seen=take(assembler.likes.candidates, query),
            shown=None if interactions.label is None else take(shown, query),
            grade=None if grades is None else take(grades, query).values,
            objectives=None if several is None else take(several, query).values,
        )

    return _shard_in_turn(make, len(queries), assembler, process_rank, world_size)


def shard_events(
    assembler: Assembler, fold: int, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """Return this process's events of a fold, each once, with its own context and its own candidate."""
    interactions = assembler.data.interactions
    events = interactions.rows(fold)

    def make(numbers: Tensor) -> EvaluationBatch:
        rows = events[numbers]
        query, candidate = interactions.query[rows], interactions.candidate[rows]
        liked = torch.ones(len(rows), dtype=torch.bool) if interactions.label is None else interactions.label[rows] > 0
        return EvaluationBatch(
            query=assembler.event_features(rows),
            query_row=query,
            relevant=_select(candidate, liked),
            seen=take(assembler.likes.candidates, query),
            shown=None if interactions.label is None else _select(candidate, ~liked),
            row=rows,
            grade=None if interactions.grade is None else interactions.grade[rows[liked]],
            objectives=None if interactions.objectives is None else interactions.objectives[rows[liked]],
        )

    return _shard_in_turn(make, len(events), assembler, process_rank, world_size)


def shard_lists(
    assembler: Assembler, lists: CandidateLists, process_rank: int, world_size: int
) -> ShardedBatches[EvaluationBatch]:
    """Return this process's share of the lists, each once.

    No candidate of a list is masked: repeated pairs are one row, so that a held-out row is never a training positive.
    """

    def make(numbers: Tensor) -> EvaluationBatch:
        query, first = lists.query[numbers], lists.first[numbers]
        nothing = torch.zeros(0, dtype=torch.int64)
        return EvaluationBatch(
            query=assembler.event_features(first) if lists.by_event else assembler.query_features(query),
            query_row=query,
            relevant=take(lists.relevant, numbers),
            seen=Ragged.from_lengths(nothing, torch.zeros_like(query)),
            shown=take(lists.shown, numbers),
            row=first if lists.by_event else None,
            grade=None if lists.grade is None else take(lists.grade, numbers).values,
            num_liked=take(assembler.likes.candidates, query).lengths,
            listed=take(lists.listed, numbers),
            objectives=None if lists.objectives is None else take(lists.objectives, numbers).values,
        )

    own = torch.arange(min(process_rank, len(lists.query)), len(lists.query), world_size)
    at_once = min(_query_batch_size(len(assembler.data.candidates)), max(1, MAX_LISTED // max(1, lists.longest)))
    return ShardedBatches(make, own, at_once, len(lists.query))


def shard_mining_queries(
    assembler: Assembler, queries: Tensor, process_rank: int, world_size: int
) -> ShardedBatches[tuple[Tensor, Features]]:
    """Return this process's share of the queries (P,) that are mined, with their features."""

    def make(numbers: Tensor) -> tuple[Tensor, Features]:
        return queries[numbers], assembler.query_features(queries[numbers])

    return _shard_in_turn(make, len(queries), assembler, process_rank, world_size)


def _shard_in_turn(
    make: Callable[[Tensor], T], total: int, assembler: Assembler, process_rank: int, world_size: int
) -> ShardedBatches[T]:
    """Distribute the numbers 0 … total − 1 over the processes in turn."""
    own = torch.arange(min(process_rank, total), total, world_size)
    return ShardedBatches(make, own, _query_batch_size(len(assembler.data.candidates)), total)


def _select(values: Tensor, chosen: Tensor) -> Ragged:
    """Return rows of one value if chosen, and empty rows otherwise."""
    return Ragged.from_lengths(values[chosen], chosen.long())


def _query_batch_size(num_candidates: int) -> int:
    """Return the number of queries whose scores take at most 64 MiB, but at least 32 and at most 1024.

    With fewer rows, a product with the corpus waits for memory, not for the processor. At D = 128, the scores of 32
    queries take a quarter of the memory of the corpus embeddings.
    """
    return max(32, min(1024, MAX_SCORES // num_candidates))


# -- features in order ------------------------------------------------------------------------------------------------


def shard_corpus(
    assembler: Assembler, rows: Tensor | None, process_rank: int, world_size: int
) -> ShardedBatches[Features]:
    """Return the features of corpus rows (M,), None = the whole corpus: this process's contiguous share, in order."""
    if rows is None:
        return shard_features(assembler.candidate_features, len(assembler.data.candidates), process_rank, world_size)
    return shard_features(
        lambda numbers: assembler.candidate_features(rows[numbers]), len(rows), process_rank, world_size
    )


def shard_features(
    make: Callable[[Tensor], Features], total: int, process_rank: int, world_size: int
) -> ShardedBatches[Features]:
    """Return the features of the numbers 0 … total − 1: this process's contiguous share, in order."""
    share = -(-total // world_size)
    own = torch.arange(min(total, process_rank * share), min(total, (process_rank + 1) * share))
    return ShardedBatches(make, own, CORPUS_BATCH_SIZE, total)
