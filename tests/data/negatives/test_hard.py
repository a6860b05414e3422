"""Hard negatives: the candidates of a query's pool, and the draws from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.drawing import HERE, assert_frequencies, bound, drawn, make_interactions

from dssm_lightning.data.interactions import TEST, TRAIN
from dssm_lightning.data.negatives import Hard, Mixed, SamplerTables, Uniform

# Query 0 likes 0 and 1, query 1 likes 2 (and 3 in the test fold), query 2 was shown 4, query 3 has no training row.
EVENTS = make_interactions(
    query=[0, 0, 1, 1, 2, 3],
    candidate=[0, 1, 2, 3, 4, 5],
    fold=[TRAIN, TRAIN, TRAIN, TEST, TRAIN, TEST],
    label=[1.0, 1.0, 1.0, 1.0, 0.0, 1.0],
)
N = 8
TRAINED = torch.tensor([0, 1, 2])
SCORES = torch.tensor(
    [
        [9.0, 1.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0],  # its positives have 9 and 1, on average 5
        [0.0, 1.0, 4.0, 3.0, 2.0, 5.0, 6.0, 7.0],  # its positive has 4
        [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
    ]
)


def hard(num_negatives: int = 2, rank_range: tuple[int, int] = (1, 4), **more: Any) -> Hard:
    sampler = bound(Hard(num_negatives, rank_range, **more), EVENTS, N)
    assert isinstance(sampler, Hard)
    return sampler


def mined(sampler: Hard, epoch: int = 1) -> Hard:
    sampler.keep(TRAINED, sampler.choose(TRAINED, SCORES), epoch)
    return sampler


def test_pools_by_hand() -> None:
    pools = hard().choose(TRAINED, SCORES)
    assert pools.dtype == torch.int32
    assert pools.tolist() == [[3, 4, 5], [6, 5, 3], [1, 2, 3]]  # positives of the test fold are not known


def test_a_margin_below_the_mean_of_the_positives() -> None:
    assert hard(margin=0.0).choose(TRAINED, SCORES).tolist() == [[-1, -1, 5], [-1, -1, 3], [1, 2, 3]]
    assert hard(margin=1.5).choose(TRAINED, SCORES).tolist() == [[-1, -1, -1], [-1, -1, -1], [1, 2, 3]]


def test_a_margin_as_a_part_of_the_positives_mean() -> None:
    """The means are 5 and 4, so the limits are 4 and 3.2. Of two margins, the wider one decides."""
    assert hard(relative_margin=0.2).choose(TRAINED, SCORES).tolist() == [[-1, -1, -1], [-1, -1, 3], [1, 2, 3]]
    assert hard(1, (3, 6), relative_margin=0.2).choose(TRAINED, SCORES)[0].tolist() == [-1, 6, 7]
    assert hard(1, (3, 6), relative_margin=0.2, margin=2.0).choose(TRAINED, SCORES)[0].tolist() == [-1, -1, 7]
    negative = hard(1, (0, 6), relative_margin=0.5).choose(
        TRAINED[:1], SCORES[:1] - 10
    )  # a mean of −5, a limit of −7.5
    assert negative.tolist() == hard(1, (0, 6), margin=2.5).choose(TRAINED[:1], SCORES[:1] - 10).tolist()


def test_a_query_with_many_positives_has_a_shorter_pool() -> None:
    assert hard(1, (5, 8)).choose(TRAINED, SCORES).tolist() == [[7, -1, -1], [1, 0, -1], [5, 6, 7]]


@pytest.mark.parametrize("margin", [None, 0.3])
def test_pools_by_a_loop(margin: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    query, candidate = torch.arange(20).repeat(4), torch.randint(0, 30, (80,), generator=generator)
    sampler = Hard(1, (2, 9), margin=margin)
    sampler.bind(SamplerTables(make_interactions(query.tolist(), candidate.tolist()), 20, 30))
    scores = torch.randn(20, 30, generator=generator)
    found = sampler.choose(torch.arange(20), scores)
    for row in range(20):
        liked = candidate[query == row].tolist()
        limit = sum(scores[row, c].item() for c in liked) / len(liked) - (margin or 0)
        ranked = [c for c in scores[row].argsort(descending=True).tolist() if c not in liked][2:9]
        assert found[row].tolist() == [c if margin is None or scores[row, c] <= limit else -1 for c in ranked]


def test_draws_are_uniform_over_the_pool_of_the_rows_query() -> None:
    sampler = mined(hard())
    assert sampler.sample(HERE, torch.tensor([2, 0])).shape == (2, 2)
    ids = drawn(sampler, 2000, torch.tensor([2]))
    assert_frequencies(ids, torch.tensor([0, 0, 0, 1, 0, 1, 1, 0]).double() / 3)
    rows = sampler.sample(HERE, torch.tensor([0, 2])).tolist()
    assert all(len(set(row)) == 2 for row in rows)


def test_a_query_with_an_empty_pool_has_no_negatives() -> None:
    sampler = mined(hard(margin=1.5))
    assert sampler.sample(HERE, torch.tensor([0, 4])).tolist()[0] == [-1, -1]


@pytest.mark.parametrize("per_row", [True, False])
def test_draws_are_as_expected_over_the_training_rows(per_row: bool) -> None:
    sampler = mined(hard(num_negatives=3, per_row=per_row))
    rows = torch.tensor([0, 1, 2, 4])  # the training rows
    assert sampler.sample(HERE, rows).shape == ((4, 3) if per_row else (3,))
    probability = sampler.expected(torch.arange(N)) / 3
    # half of the rows draw from 3 4 5, a quarter each from 6 5 3 and 1 2 3
    assert probability.tolist() == pytest.approx([x / 12 for x in (0, 1, 1, 4, 2, 3, 1, 0)])
    assert_frequencies(drawn(sampler, 3000, rows), probability)


def test_before_the_first_mining_draws_are_uniform() -> None:
    sampler = hard(per_row=False)
    assert_frequencies(drawn(sampler, 3000), torch.full((N,), 1 / N, dtype=torch.float64))
    assert sampler.expected(torch.tensor([5])).item() == 2 / N


def test_epochs_before_which_to_mine() -> None:
    sampler = hard(every_n_epochs=3, warm_up=2)
    assert [epoch for epoch in range(10) if sampler.due(epoch)] == [2, 5, 8]
    mined(sampler, epoch=5)
    assert not sampler.due(5)  # a run that resumes in epoch 5 has the pools of epoch 5
    assert sampler.due(8)
    assert hard(warm_up=0).due(0)


def test_pools_are_state_also_within_a_mixture(tmp_path: Any) -> None:
    def mixture() -> Mixed:
        sampler = bound(Mixed([Uniform(3, per_row=True), Mixed([Hard(2, (1, 4))])]), EVENTS, N)
        assert isinstance(sampler, Mixed)
        return sampler

    one, two = mixture(), mixture()
    assert one.state_dict() == {}
    [sampler] = [part for part in one.parts if isinstance(part, Hard)]
    mined(sampler)
    torch.save(one.state_dict(), tmp_path / "state")
    two.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    rows = torch.tensor([0, 2, 4])
    assert torch.equal(one.sample(HERE, rows), two.sample(HERE, rows))
    assert torch.equal(one.expected(torch.arange(N)), two.expected(torch.arange(N)))
    [other] = [part for part in two.parts if isinstance(part, Hard)]
    assert not other.due(1)
    bound(two, EVENTS, N)
    assert two.state_dict() == {}  # another run starts without pools


def test_pools_of_other_data_are_refused() -> None:
    state = mined(hard()).state_dict()
    other = Hard(2, (1, 4))
    other.bind(SamplerTables(EVENTS, 9, N))
    with pytest.raises(ValueError, match=r"Hard: .*4 queries, .*9;"):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank_range": (5, 5)}, "Hard: rank_range is 5 to 5"),
        ({"rank_range": (7, 2)}, "Hard: rank_range is 7 to 2"),
        ({"rank_range": (-1, 2)}, "Hard: rank_range is -1 to 2"),
        ({"rank_range": (1, 2)}, "Hard: num_negatives is 2, .*rank_range 1 to 2 .*1 rank"),
        ({"every_n_epochs": 0}, "Hard: every_n_epochs is 0; .*1"),
        ({"warm_up": -1}, "Hard: warm_up is -1; .*0"),
        ({"margin": -0.5}, r"Hard: margin is -0\.5; .*0"),
        ({"relative_margin": 1.5}, r"Hard: relative_margin is 1\.5; .*\[0, 1\]"),
        ({"num_negatives": 0}, "Hard: num_negatives is 0; .*1"),
        ({"rank_range": (4, 9)}, "Hard: rank_range .*9, .*8 candidates"),
    ],
)
def test_impossible_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hard(**arguments)
