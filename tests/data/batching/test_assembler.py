"""Batches by hand; a batch is a function of its place in the run; shards partition the data."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, log
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data
from torch import Tensor

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.batch import Batch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.evaluation_batches import ShardedBatches, shard_events, shard_queries
from dssm_lightning.data.batching.shuffling import Order, QueryOrder, RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.data.interactions import TEST, TRAIN
from dssm_lightning.data.negatives import (
    FromColumn,
    LogUniform,
    Mixed,
    NegativeSampler,
    ObservedOnly,
    Popularity,
    Uniform,
)
from dssm_lightning.data.negatives.frequency import StreamingFrequency
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.features import Categorical, History
from dssm_lightning.utils.ragged import Column, Ragged
from dssm_lightning.utils.seeding import Counter

PLACE = Counter(seed=5)

# Rows 0 to 5: p and q like a; p likes b; r likes c; p likes d (test); q was shown c and did not like it.
EVENTS: dict[str, list[Any]] = {
    "user": ["p", "q", "p", "r", "p", "q"],
    "item": ["a", "a", "b", "c", "d", "c"],
    "fold": ["train", "train", "train", "train", "test", "train"],
    "label": [1, 1, 1, 1, 1, 0],
    "weight": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    "worse": [["b"], ["b", "d"], [], None, ["a"], ["a"]],
    "device": ["x", "y", "x", "y", "x", "x"],
}
USERS = {"user": ["p", "q", "r"], "age": ["old", "young", "old"]}
ITEMS = {"item": ["a", "b", "c", "d"], "colour": ["red", "red", "blue", "blue"]}


def by_hand(tmp_path: Path, labels: bool = False, **changes: Any) -> RetrievalDataModule:
    source = Frames(
        pl.DataFrame(EVENTS),
        pl.DataFrame(USERS),
        pl.DataFrame(ITEMS),
        query_id="user",
        candidate_id="item",
        label="label" if labels else None,
        weight="weight",
    )
    settings: dict[str, Any] = {
        "source": source,
        "query": [Categorical(name="age"), History(name="history", of="item")],
        "candidate": [Categorical(name="item"), Categorical(name="colour")],
        "split": PublishedFold("fold"),
        "cache_dir": str(tmp_path),
    }
    return RetrievalDataModule(**(settings | changes))


def lists(column: Column | None) -> list[list[int]]:
    assert isinstance(column, Ragged)
    return [part.tolist() for part in column.values.split(column.lengths.tolist())]


def flat(value: Any) -> Iterator[Tensor]:
    """Yield all tensors of a batch, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from flat(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from flat(item)


def equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


# -- one batch, by hand ------------------------------------------------------------------------------------------------


def test_a_batch_of_in_batch_negatives(tmp_path: Path) -> None:
    assembler = by_hand(tmp_path).assembler
    batch = assembler.batch(torch.tensor([0, 1, 3]), PLACE)
    assert batch.candidates.id.tolist() == [0, 2]  # a (two rows own it) and c, each of them once
    assert batch.target.tolist() == [0, 0, 1]
    assert batch.candidates.count.tolist() == [2, 1]
    # five training rows: p(a) = 2/5, p(c) = 2/5 (rows of r and q: without labels q's row counts as liked); B = 3
    assert batch.candidates.log_q.tolist() == pytest.approx([log(3 * 2 / 5), log(3 * 2 / 5)])
    assert batch.negatives is None
    assert batch.label is None
    assert batch.weight is not None
    assert batch.weight.tolist() == [1, 2, 4]
    assert lists(batch.known) == [[0, 1], [0, 2], [2]]  # d, a test row of p, is not known
    assert batch.row.tolist() == [0, 1, 3]
    # encoded: ids run in sorted order from 1; d has no training row and is unknown
    assert batch.query["age"].tolist() == [1, 2, 1]
    assert lists(batch.query["history"]) == [[2], [3], []]  # all but the target
    assert batch.candidates.features["item"].tolist() == [1, 3]
    assert batch.candidates.features["colour"].tolist() == [2, 1]
    assert list(batch.query) == ["age", "history"]


def test_label_0_is_no_positive(tmp_path: Path) -> None:
    data = by_hand(tmp_path, labels=True)
    batch = data.assembler.batch(torch.tensor([1, 5]), PLACE)
    assert batch.label is not None
    assert batch.label.tolist() == [1, 0]
    assert lists(batch.known) == [[0], [0]]  # q does not like c
    assert batch.target.tolist() == [0, 1]
    liked_only = Assembler(data.data, liked_only=True)
    assert liked_only.rows.tolist() == [0, 1, 2, 3]
    assert liked_only.frequency(torch.arange(4)).tolist() == [0.5, 0.25, 0.25, 0]
    assert Assembler(data.data).rows.tolist() == [0, 1, 2, 3, 5]


def test_known_positives_may_count_as_negatives(tmp_path: Path) -> None:
    assert by_hand(tmp_path, mask_known=False).assembler.batch(torch.tensor([0]), PLACE).known is None


def test_labels_alone_make_a_row_of_its_own_candidate(tmp_path: Path) -> None:
    batch = by_hand(tmp_path, labels=True, negatives=ObservedOnly()).assembler.batch(torch.tensor([0, 5, 1]), PLACE)
    assert batch.candidates.id.tolist() == [0, 2]
    assert batch.target.tolist() == [0, 1, 0]
    assert batch.label is not None
    assert batch.label.tolist() == [1, 0, 1]
    assert batch.negatives is not None
    assert batch.negatives.shape == (3, 0)
    assert batch.known is None  # there are no negatives to mask


class Always(NegativeSampler):
    """Draw the given candidates."""

    def __init__(self, drawn: list[Any], per_row: bool) -> None:
        super().__init__(len(drawn), per_row)
        self.drawn = torch.tensor(drawn)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        return self.drawn

    def expected(self, ids: Tensor) -> Tensor:
        return torch.full((len(ids),), 0.25, dtype=torch.float64)


def test_shared_negatives_are_further_columns(tmp_path: Path) -> None:
    assembler = Assembler(by_hand(tmp_path).data, sampler=Always([3, 0, 3], per_row=False))
    batch = assembler.batch(torch.tensor([0, 1, 3]), PLACE)
    assert batch.candidates.id.tolist() == [0, 2, 3]  # a and c are own candidates; d (twice) and a are drawn
    assert batch.candidates.count.tolist() == [2, 1, 0]
    assert batch.target.tolist() == [0, 0, 1]
    assert batch.negatives is None
    expected = [3 * 2 / 5 + 0.25, 3 * 2 / 5 + 0.25, 0.25]  # B·p + n·q
    assert batch.candidates.log_q.exp().tolist() == pytest.approx(expected)


def test_a_rows_own_negatives_are_columns_of_the_same_batch(tmp_path: Path) -> None:
    assembler = Assembler(by_hand(tmp_path).data, sampler=Always([[3, 1], [0, -1]], per_row=True))
    batch = assembler.batch(torch.tensor([0, 3]), PLACE)  # a and c
    assert batch.candidates.id.tolist() == [0, 1, 2, 3]
    assert batch.target.tolist() == [0, 2]
    assert batch.negatives is not None
    assert batch.negatives.tolist() == [[3, 1], [0, -1]]  # −1: the second row has only one
    assert batch.candidates.count.tolist() == [1, 0, 1, 0]
    assert batch.candidates.log_q.exp().tolist() == pytest.approx([0.25] * 4)  # other rows' columns do not count


@pytest.mark.parametrize("n", [1, 4])
def test_log_q_of_uniform_and_popular_negatives(tmp_path: Path, n: int) -> None:
    data = by_hand(tmp_path).data
    ids = torch.arange(4)
    p = torch.tensor([2, 1, 2, 0]).double() / 5
    uniform = Assembler(data, sampler=Uniform(n))._log_q(ids, 3)
    torch.testing.assert_close(uniform.exp(), (3 * p + n / 4).float())
    weight = torch.tensor([2.0, 1.0, 2.0, 0.0]).double() ** 0.75
    popular = Assembler(data, sampler=Popularity(n))._log_q(ids, 3)
    torch.testing.assert_close(popular.exp(), (3 * p + n * weight / weight.sum()).float())
    assert popular[3] == -inf  # d has no training positive, so no batch proposes it


def test_negatives_that_the_data_names(tmp_path: Path) -> None:
    data = by_hand(tmp_path, negatives=FromColumn("worse"))
    batch = data.assembler.batch(torch.tensor([0, 1, 2]), PLACE)
    assert batch.candidates.id.tolist() == [0, 1, 3]
    assert batch.target.tolist() == [0, 0, 1]
    assert batch.negatives is not None
    assert batch.negatives.tolist() == [[1, -1], [1, 2], [-1, -1]]
    assert batch.candidates.log_q.tolist() == [-inf] * 3  # none of them is drawn at random


def test_in_batch_log_q_is_the_expected_number_of_rows_of_a_candidate(tmp_path: Path) -> None:
    data = small_data(tmp_path, batch_size=16)
    assembler = data.assembler
    total = torch.zeros(data.num_candidates)
    expected = assembler._log_q(torch.arange(data.num_candidates), 16).exp()
    loader = loader_of(assembler, 16)
    batches = [batch for _ in range(40) for batch in loader]
    for batch in batches:
        total[batch.candidates.id] += batch.candidates.count
    torch.testing.assert_close(total / len(batches), expected, atol=0.06, rtol=0.06)


def test_log_q_of_mixed_samplers_is_the_expected_number_of_proposals(tmp_path: Path) -> None:
    """log(B·p + Σ n_i·q_i) against counts in 800 batches: own candidates and draws of shared samplers."""
    sampler = Mixed([Uniform(6), Popularity(10, alpha=1.0), Mixed([LogUniform(4)])])
    data = small_data(tmp_path, batch_size=16, negatives=sampler)
    assembler = data.assembler
    proposed, held, inverse, steps = torch.zeros(40), torch.zeros(40), 0.0, 0
    loader = loader_of(assembler, 16)
    for _ in range(100):
        for step, batch in enumerate(loader):
            counter = PLACE._replace(epoch=loader.progress.epoch, step=step)
            drawn = sampler.sample(counter, batch.row)
            assert set(drawn.tolist()) <= set(batch.candidates.id.tolist())
            own = batch.candidates.id[batch.target]
            proposed += torch.bincount(torch.cat([own, drawn]), minlength=40)
            held[batch.candidates.id] += 1
            inverse += float((1 / -torch.expm1(-batch.candidates.log_q.exp())).sum())
            steps += 1
    expected = assembler._log_q(torch.arange(40), 16).exp()
    assert expected.sum().item() == pytest.approx(16 + 6 + 10 + 4, rel=1e-5)
    torch.testing.assert_close(proposed / steps, expected, atol=0.03, rtol=0.1)
    torch.testing.assert_close(held / steps, -torch.expm1(-expected), atol=0.05, rtol=0)
    # "refined" adds up 1 / π over the columns: on average once for each candidate of the corpus
    assert inverse / steps == pytest.approx(40, rel=0.03)


@pytest.mark.parametrize("by_query", [False, True])
def test_a_streaming_frequency_sees_the_rows_of_all_processes(tmp_path: Path, by_query: bool) -> None:
    """After two epochs, two processes with batches of 8 equal one process with batches of 16."""
    data = small_data(tmp_path).data
    found = []
    for rank, world_size in ((0, 1), (0, 2), (1, 2)):
        assembler = Assembler(data, by_query=by_query, frequency=StreamingFrequency(alpha=0.1))
        place, size = PLACE._replace(process_rank=rank), 16 // world_size
        order: Order = (
            QueryOrder(assembler.rows_by_query, size, None, place, world_size)
            if by_query
            else RowOrder(assembler.rows, size, place, world_size)
        )
        loader = TrainLoader(assembler, order, place, Progress())
        log_q = [batch.candidates.log_q for _ in range(2) for batch in loader]
        assert len({tuple(values.tolist()) for values in log_q}) > 2
        found.append(assembler.frequency(torch.arange(40)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# -- place in a run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Assembler:
    """Make an assembler with all random parts: shared negatives and history dropout."""
    history = History(name="history", of="candidate_id", dropout=0.5)
    data = small_data(
        tmp_path_factory.mktemp("cache"),
        query=[Categorical(name="query_id"), history],
        negatives=Uniform(7),
    )
    return data.assembler


def loader_of(
    assembler: Assembler, size: int, place: Counter = PLACE, world_size: int = 1, progress: Progress | None = None
) -> TrainLoader:
    order = RowOrder(assembler.rows, size, place, world_size)
    return TrainLoader(assembler, order, place, progress or Progress())


def epoch(assembler: Assembler, place: Counter = PLACE, world_size: int = 1, number: int = 0) -> list[Batch]:
    return list(loader_of(assembler, 24 // world_size, place, world_size, Progress(number)))


def test_an_epoch_is_a_function_of_its_place(drawing: Assembler) -> None:
    first = epoch(drawing)
    torch.rand(3)  # batches do not depend on the global generator
    assert all(equal(a, b) for a, b in zip(first, epoch(drawing), strict=True))
    for other in (epoch(drawing, Counter(seed=6)), epoch(drawing, number=1)):
        assert not any(torch.equal(a.row, b.row) for a, b in zip(first, other, strict=True))
    rows = first[0].row
    draws = [
        drawing.batch(rows, place)
        for place in (
            PLACE,
            Counter(6),
            PLACE._replace(epoch=1),
            PLACE._replace(step=1),
            PLACE._replace(process_rank=1),
        )
    ]
    histories = [lists(draw.query["history"]) for draw in draws]
    negatives = [draw.candidates.id.tolist() for draw in draws]
    for found in (histories, negatives):
        assert all(a != b for place, a in enumerate(found) for b in found[:place])


def test_an_epoch_has_each_row_at_most_once(drawing: Assembler) -> None:
    rows = torch.cat([batch.row for batch in epoch(drawing)])
    assert len(rows) == len(rows.unique()) == len(drawing.rows) // 24 * 24
    assert set(rows.tolist()) <= set(drawing.data.interactions.rows(TRAIN).tolist())


def test_every_pass_of_a_loader_is_the_next_epoch(drawing: Assembler) -> None:
    progress = Progress()
    loader = loader_of(drawing, 24, progress=progress)
    for number in range(3):
        assert all(equal(a, b) for a, b in zip(loader, epoch(drawing, number=number), strict=True))
        assert (progress.epoch, progress.done) == (number, len(loader))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_partition_each_global_batch(drawing: Assembler, world_size: int) -> None:
    whole = epoch(drawing)
    ranks = [epoch(drawing, PLACE._replace(process_rank=rank), world_size) for rank in range(world_size)]
    assert {len(part) for part in ranks} == {len(whole)}
    for step, batch in enumerate(whole):
        rows = torch.cat([part[step].row for part in ranks])
        assert torch.equal(rows, batch.row)
        assert len({len(part[step].row) for part in ranks}) == 1  # equal batch sizes in all processes


@pytest.mark.parametrize("done", [0, 1, 5, 10])
def test_a_loader_continues_from_its_progress(drawing: Assembler, done: int) -> None:
    assert len(epoch(drawing)) == 10
    loader = loader_of(drawing, 24, progress=Progress(epoch=3, done=done))
    expected = epoch(drawing, number=3)[done:] if done < 10 else epoch(drawing, number=4)
    assert all(equal(a, b) for a, b in zip(loader, expected, strict=True))
    following = epoch(drawing, number=4 if done < 10 else 5)
    assert all(equal(a, b) for a, b in zip(loader, following, strict=True))
    assert len(loader) == 10


def test_fewer_rows_than_a_batch_are_one_batch(drawing: Assembler) -> None:
    R = len(drawing.rows)
    for world_size in (1, 2):
        loader = loader_of(drawing, 10 * R, world_size=world_size)
        assert [len(batch.row) for batch in loader] == [R // world_size]
        assert len(loader) == 1


# -- evaluation --------------------------------------------------------------------------------------------------------


def test_queries_to_be_ranked_by_hand(tmp_path: Path) -> None:
    [batch] = shard_queries(by_hand(tmp_path).assembler, TEST, 0, 1)
    assert batch.query_row.tolist() == [0]  # only p has a test row
    assert lists(batch.relevant) == [[3]]
    assert lists(batch.seen) == [[0, 1]]
    assert batch.shown is None
    assert lists(batch.query["history"]) == [[1, 2]]  # all training positives of p


def test_events_to_be_ranked_by_hand(tmp_path: Path) -> None:
    data = by_hand(tmp_path, query=[Categorical(name="age"), Categorical(name="device")], evaluate="event")
    [batch] = data.test_dataloader()
    assert batch.query_row.tolist() == [0]
    assert lists(batch.relevant) == [[3]]
    assert lists(batch.seen) == [[0, 1]]
    assert batch.query["device"].tolist() == [1]
    labelled = by_hand(tmp_path, labels=True)
    [shown] = shard_events(labelled.assembler, TRAIN, 0, 1)  # training rows, because one of them has label 0
    assert lists(shown.relevant) == [[0], [0], [1], [2], []]
    assert lists(shown.shown) == [[], [], [], [], [2]]


@pytest.mark.parametrize("shard", [shard_queries, shard_events])
@pytest.mark.parametrize("world_size", [1, 2, 3, 70])
def test_shards_have_each_query_once(drawing: Assembler, shard: Any, world_size: int) -> None:
    [whole] = shard(drawing, TEST, 0, 1)
    parts = [batch for rank in range(world_size) for batch in shard(drawing, TEST, rank, world_size)]
    assert sorted(torch.cat([part.query_row for part in parts]).tolist()) == whole.query_row.tolist()
    found = {
        (q, tuple(r)) for part in parts for q, r in zip(part.query_row.tolist(), lists(part.relevant), strict=True)
    }
    assert found == set(zip(whole.query_row.tolist(), map(tuple, lists(whole.relevant)), strict=True))
    assert len(parts) == world_size  # a process without a query has one empty batch


def test_relevant_and_seen_are_the_held_out_and_the_training_positives(tmp_path: Path) -> None:
    data = small_data(tmp_path, source=Synthetic(num_queries=60, num_candidates=40, labels=True))
    interactions = data.data.interactions
    assert interactions.label is not None
    events = list(zip(*(column.tolist() for column in interactions[:4]), strict=True))  # query, candidate, fold, label
    for batch in data.test_dataloader():
        for place, query in enumerate(batch.query_row.tolist()):
            expected = [
                sorted(c for q, c, f, liked in events if (q, f, liked) == (query, *which))
                for which in ((TEST, 1), (TRAIN, 1), (TEST, 0))
            ]
            found = [sorted(lists(column)[place]) for column in (batch.relevant, batch.seen, batch.shown)]
            assert found == expected


def test_batches_cover_the_numbers_in_order() -> None:
    for total in (0, 1, 7, 12):
        batches = ShardedBatches(lambda numbers: numbers, torch.arange(total), 4, total)
        found = list(batches)
        assert len(batches) == len(found) == -(-total // 4)
        assert [n for numbers in found for n in numbers.tolist()] == list(range(total))
