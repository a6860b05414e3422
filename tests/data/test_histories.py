"""What a query liked before never holds what is to be predicted."""

from __future__ import annotations

import itertools

import pytest
import torch

from dssm_lightning.batch import Ragged
from dssm_lightning.counter import Counter
from dssm_lightning.data.histories import HistoryAssembler, Likes
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import Categorical, History

# query 0 likes 5, 3, 1 at times 10, 20, 20; query 1 likes 2 (and is shown 4); query 2 only has a test row
QUERY = torch.tensor([0, 0, 0, 1, 1, 2])
CANDIDATE = torch.tensor([3, 5, 1, 2, 4, 0])
TIME = torch.tensor([20.0, 10.0, 20.0, 5.0, 6.0, 7.0], dtype=torch.float64)
LABEL = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
FOLD = torch.tensor([0, 0, 0, 0, 0, 2], dtype=torch.int8)
ITEM = Categorical(name="movie", vocabulary=("a", "b", "c"))
ITEM_IDS = torch.arange(100, 106, dtype=torch.int32)


def assembler(time: torch.Tensor | None = TIME, **options: object) -> HistoryAssembler:
    interactions = Interactions(QUERY, CANDIDATE, FOLD, LABEL, None, time, None)
    feature = History(name="history", of="movie", item=ITEM, **options)
    return HistoryAssembler(feature, ITEM_IDS, Likes(interactions, 3))


def lists(column: Ragged) -> list[list[int]]:
    bounds = column.offsets.tolist()
    return [(column.values[a:b] - 100).tolist() for a, b in itertools.pairwise(bounds)]


def test_all_but_the_target_oldest_first() -> None:
    made = assembler()(torch.tensor([0, 0, 1, 2]), torch.tensor([3, 5, 2, 0]))
    assert lists(made) == [[5, 1], [3, 1], [], []]
    assert made.age is not None
    assert made.age.tolist() == [2, 1, 2, 1]


def test_time_order_takes_strictly_earlier_events_only() -> None:
    made = assembler(order="time")(QUERY[:3], CANDIDATE[:3], TIME[:3])
    assert lists(made) == [[5], [], [5]]  # equal times are excluded


def test_evaluation_by_query_takes_all_training_positives() -> None:
    assert lists(assembler()(torch.tensor([0, 1, 2]))) == [[5, 3, 1], [2], []]


def test_max_length_keeps_the_newest() -> None:
    assert lists(assembler(max_length=1)(torch.tensor([0, 0]), torch.tensor([1, 5]))) == [[3], [1]]
    assert lists(assembler(max_length=2)(torch.tensor([0, 1]))) == [[3, 1], [2]]


def test_dropout_draws_from_the_counter_and_only_in_training() -> None:
    make = assembler(dropout=0.5)
    query = torch.zeros(400, dtype=torch.int64)
    dropped = make(query, None, None, Counter(1))
    assert lists(dropped) == lists(make(query, None, None, Counter(1)))
    assert lists(dropped) != lists(make(query, None, None, Counter(2)))
    assert 0.4 < len(dropped.values) / 1200 < 0.6
    assert len(make(query).values) == 1200


def test_the_target_is_never_in_its_history() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.unique(torch.randint(0, 30, (500, 2), generator=generator), dim=0)
    fold = torch.zeros(len(pairs), dtype=torch.int8)
    time = torch.randint(0, 20, (len(pairs),), generator=generator).double()
    interactions = Interactions(pairs[:, 0], pairs[:, 1], fold, None, None, time, None)
    for order in ("leave_one_out", "time"):
        feature = History(name="history", of="movie", item=ITEM, order=order)
        make = HistoryAssembler(feature, torch.arange(30, dtype=torch.int32), Likes(interactions, 30))
        made = make(pairs[:, 0], pairs[:, 1], time)
        assert len(made.values) > 0
        assert not (made.values == pairs[:, 1][made.rows]).any()


def test_time_order_without_a_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="'history': order 'time' needs a time column"):
        assembler(time=None, order="time")
