"""LikedBy features never contain the rows of the batch, in any number of processes."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pytest
import torch
from helpers.small import small_data

from dssm_lightning.data.batching.liked_by import LikedByAssembler
from dssm_lightning.data.batching.shuffling import RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.data.grouped_events import rows_by_candidate
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import (
    Categorical,
    HashedTrigrams,
    HashedWords,
    History,
    LikedBy,
    Numeric,
    feature_from_dict,
)
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter

# Queries 0, 1 and 2 like candidate 0 (rows 0, 1, 4), query 1 likes candidate 1 (row 2); row 3 has label 0, row 5 tests.
QUERY = torch.tensor([0, 1, 1, 0, 2, 2])
CANDIDATE = torch.tensor([0, 0, 1, 1, 0, 1])
LABEL = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
FOLD = torch.tensor([0, 0, 0, 0, 0, 2], dtype=torch.int8)
WORDS = Ragged(torch.tensor([10, 11, 20, 30, 31, 32]), torch.tensor([0, 2, 3, 6]))  # of queries 0, 1, 2


def assembler(column: Ragged | torch.Tensor = WORDS, **options: object) -> LikedByAssembler:
    interactions = Interactions(QUERY, CANDIDATE, FOLD, LABEL)
    rows = rows_by_candidate(interactions, 3)
    return LikedByAssembler(LikedBy(name="asked", of="words", **options), {"words": column}, interactions, rows)


def lists(column: Ragged) -> list[list[int]]:
    return [column.values[a:b].tolist() for a, b in itertools.pairwise(column.offsets.tolist())]


def test_without_a_batch_all_training_positives_count() -> None:
    found = assembler().of_candidates(torch.tensor([0, 1, 2]))
    assert lists(found) == [[10, 11, 20, 30, 31, 32], [20], []]
    assert lists(assembler().of_candidates(torch.tensor([1, 0]))) == [[20], [10, 11, 20, 30, 31, 32]]


def test_the_batchs_own_rows_are_left_out() -> None:
    found = assembler().of_candidates(torch.tensor([0, 1]), torch.tensor([1, 2]))
    assert lists(found) == [[10, 11, 30, 31, 32], []]  # rows 1 and 2 of query 1


def test_max_length_keeps_the_last_queries() -> None:
    made = assembler(max_length=2)
    assert lists(made.of_candidates(torch.tensor([0, 1]))) == [[20, 30, 31, 32], [20]]
    assert lists(made.of_candidates(torch.tensor([0]), torch.tensor([4]))) == [[10, 11, 20]]


def test_dropout_leaves_out_whole_queries_in_training_only() -> None:
    made = assembler(dropout=0.5)
    ids = torch.zeros(1000, dtype=torch.int64)
    found = made.of_candidates(ids, None, Counter(1))
    assert lists(found) == lists(made.of_candidates(ids, None, Counter(1)))
    assert {tuple(row) for row in lists(found)} <= {
        (*a, *b, *c) for a in ((), (10, 11)) for b in ((), (20,)) for c in ((), (30, 31, 32))
    }
    assert found.values.eq(20).sum().item() == pytest.approx(500, abs=60)
    assert lists(made.of_candidates(ids[:1])) == [[10, 11, 20, 30, 31, 32]]


def test_a_query_may_be_a_category() -> None:
    found = assembler(torch.tensor([7, 8, 9])).of_candidates(torch.tensor([0, 1]))
    assert lists(found) == [[7, 8, 9], [8]]


# -- in batches --------------------------------------------------------------------------------------------------------

CANDIDATE_SIDE = [Categorical(name="candidate_id"), LikedBy(name="asked", of="text")]


def test_the_rows_of_a_batch_are_left_out_and_all_others_count(tmp_path: Path) -> None:
    data = small_data(tmp_path, candidate=CANDIDATE_SIDE)
    data.prepare_data()
    data.setup()
    interactions, texts = data.data.interactions, lists(data.data.query["text"])  # type: ignore[arg-type]  # words
    train = set(interactions.rows(0).tolist())
    batch = next(iter(data.train_dataloader()))
    for candidate, found in zip(batch.candidates.id.tolist(), lists(batch.candidates.features["asked"]), strict=True):
        rows = [row for row in sorted(train - set(batch.row.tolist())) if interactions.candidate[row] == candidate]
        assert found == [word for row in rows for word in texts[int(interactions.query[row])]]
    corpus = next(iter(data.corpus_batches()))["asked"]
    assert isinstance(corpus, Ragged)
    assert len(corpus.values) == sum(len(texts[int(interactions.query[row])]) for row in train)


def test_two_processes_see_the_candidates_of_one_process(tmp_path: Path) -> None:
    data = small_data(tmp_path, candidate=CANDIDATE_SIDE)
    data.prepare_data()
    data.setup()
    made = data.assembler

    def first(rank: int, world_size: int, size: int) -> dict[int, list[int]]:
        place = Counter(5, process_rank=rank)
        order = RowOrder(made.rows, size, place, world_size)
        candidates = next(iter(TrainLoader(made, order, place, Progress()))).candidates
        return dict(zip(candidates.id.tolist(), lists(candidates.features["asked"]), strict=True))  # type: ignore[arg-type]  # words

    whole, halves = first(0, 1, 32), [first(0, 2, 16), first(1, 2, 16)]
    assert halves[0].keys() | halves[1].keys() == whole.keys()
    for half in halves:
        assert half.items() <= whole.items()


def test_raw_values_and_json() -> None:
    words = HashedWords(name="text", num_buckets=300)
    feature = LikedBy(name="asked", of="text").bind(words)
    copy = feature_from_dict(feature.to_dict())
    assert copy == feature
    assert copy.cardinality == 300
    found = feature.encode(pl.Series("asked", [["a cat", "dog"], None, ["dog"]]))
    assert found.lengths.tolist() == [3, 0, 1]
    assert found.values[:3].tolist() == words.encode(pl.Series(["a cat dog"])).values.tolist()
    ages = LikedBy(name="ages", of="age").bind(Categorical(name="age", vocabulary=("young", "old")))
    assert lists(ages.encode(pl.Series([["old", "young"], []]))) == [[2, 1], []]


@pytest.mark.parametrize(
    ("candidate", "query", "message"),
    [
        ([LikedBy(name="a", of="txt")], None, r"'a': .*'txt'.*'text'"),
        ([LikedBy(name="a", of="size")], [Numeric(name="size")], "'a': .*'size'.*Numeric"),
        (
            [Categorical(name="candidate_id"), LikedBy(name="a", of="text")],
            [HashedTrigrams(name="text"), History(name="h", of="candidate")],
            "'h' .*candidates.*LikedBy",
        ),
    ],
)
def test_what_cannot_be_bound(tmp_path: Path, candidate: list, query: list | None, message: str) -> None:  # type: ignore[type-arg]  # of features
    data = small_data(tmp_path, candidate=candidate, **({} if query is None else {"query": query}))
    with pytest.raises(ValueError, match=message):
        data.prepare_data()


def test_wrong_arguments_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"'a': max_length .*0"):
        LikedBy(name="a", of="b", max_length=0)
    with pytest.raises(ValueError, match=r"'a': dropout .*1\.0"):
        LikedBy(name="a", of="b", dropout=1.0)
    with pytest.raises(ValueError, match=r"'asked': .*'words' .*interactions"):
        LikedByAssembler(LikedBy(name="asked", of="words"), {}, Interactions(QUERY, CANDIDATE, FOLD), WORDS)
