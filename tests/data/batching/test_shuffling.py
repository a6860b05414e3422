"""The rows of each batch in batches by query; test_assembler.py tests batches by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dssm_lightning.data.batching.shuffling import QueryOrder, RowOrder
from dssm_lightning.data.grouped_events import Timeline
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.utils.seeding import Counter

PLACE = Counter(seed=5)
LENGTHS = [3, 0, 1, 12, 7, 5, 2]  # number of training rows of each query


def table() -> Interactions:
    """Make training rows of seven queries in random order; the time of a row is its candidate."""
    query = torch.repeat_interleave(torch.arange(7), torch.tensor(LENGTHS))
    candidate = torch.cat([torch.arange(length) for length in LENGTHS])
    mixed = torch.randperm(len(query), generator=torch.Generator().manual_seed(0))
    query, candidate = query[mixed], candidate[mixed]
    fold = torch.zeros(len(query), dtype=torch.int8)
    return Interactions(query, candidate, fold, time=candidate.double())


def order(size: int = 2, rows_per_query: int | None = None, place: Counter = PLACE, world_size: int = 1) -> QueryOrder:
    return QueryOrder(Timeline(table(), 7).rows, size, rows_per_query, place, world_size)


def by_query(rows: Tensor) -> list[tuple[int, list[int]]]:
    """Return (query, its candidates) in the order of the rows."""
    interactions = table()
    found: list[tuple[int, list[int]]] = []
    for query, candidate in zip(interactions.query[rows].tolist(), interactions.candidate[rows].tolist(), strict=True):
        if not found or found[-1][0] != query:
            found.append((query, []))
        found[-1][1].append(candidate)
    return found


def test_a_batch_has_whole_queries_oldest_first() -> None:
    made = order()
    assert len(made) == 3  # six queries have rows
    rows = made.epoch(0)
    found = [by_query(rows(step)) for step in range(3)]
    assert [len(queries) for queries in found] == [2, 2, 2]
    every = sorted(pair for queries in found for pair in queries)
    assert every == [(query, list(range(length))) for query, length in enumerate(LENGTHS) if length]
    again, other = order().epoch(0), made.epoch(1)
    assert all(torch.equal(rows(step), again(step)) for step in range(3))
    assert not all(torch.equal(rows(step), other(step)) for step in range(3))


def test_a_long_query_gives_consecutive_rows_from_a_new_start_in_each_epoch() -> None:
    made = order(rows_per_query=4)
    first = set()
    for number in range(60):
        rows = made.epoch(number)
        for query, candidates in (pair for step in range(3) for pair in by_query(rows(step))):
            start = candidates[0]
            assert candidates == list(range(start, start + min(LENGTHS[query], 4)))
            if query == 3:
                first.add(start)
    assert first == set(range(12 - 4 + 1))  # all nine starts occur in 60 epochs


def test_processes_partition_the_queries_of_a_global_batch() -> None:
    whole = order(size=4).epoch(2)
    parts = [order(2, None, PLACE._replace(process_rank=rank), 2).epoch(2) for rank in (0, 1)]
    assert by_query(whole(0)) == by_query(parts[0](0)) + by_query(parts[1](0))


def test_fewer_than_processes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"6 training queries .*7 processes"):
        order(world_size=7)
    with pytest.raises(ValueError, match=r"2 training rows .*3 processes"):
        RowOrder(torch.arange(2), 8, PLACE, 3)
