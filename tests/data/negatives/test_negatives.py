"""Negative samplers: the draws, their frequencies, and the state on which they depend."""

from __future__ import annotations

import pytest
import torch
from helpers.drawing import HERE, ROWS, assert_frequencies, bound, drawn, make_interactions

from dssm_lightning.data.interactions import TEST, TRAIN
from dssm_lightning.data.negatives import (
    FromColumn,
    FromShown,
    Mixed,
    NegativeSampler,
    ObservedOnly,
    Popularity,
    Uniform,
)
from dssm_lightning.utils.seeding import Counter


@pytest.mark.parametrize("per_row", [False, True])
def test_uniform_draws_every_candidate_with_equal_probability(per_row: bool) -> None:
    sampler = bound(Uniform(5, per_row))
    assert sampler.sample(HERE, ROWS).shape == ((8, 5) if per_row else (5,))
    assert sampler.sample(HERE, ROWS).dtype == torch.int64
    assert_frequencies(drawn(sampler, 500), torch.full((5,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(sampler.expected(torch.tensor([4, 0])), torch.tensor([1.0, 1.0], dtype=torch.float64))


def test_popularity_draws_by_training_likes_to_the_power_of_alpha() -> None:
    # 4 ** 0.5 : 1 ** 0.5 = 2 : 1
    sampler = bound(Popularity(3, alpha=0.5))
    probability = torch.tensor([2 / 3, 1 / 3, 0, 0, 0], dtype=torch.float64)
    assert_frequencies(drawn(sampler, 3000), probability)
    torch.testing.assert_close(sampler.expected(torch.arange(5)), 3 * probability)


def test_popularity_of_a_large_corpus_is_drawn_as_expected_says() -> None:
    candidate = (torch.rand(30_000, generator=torch.Generator().manual_seed(0)) ** 3 * 200).long()
    sampler = bound(Popularity(100), make_interactions([0] * 30_000, candidate.tolist()), 200)
    probability = sampler.expected(torch.arange(200)) / 100
    torch.testing.assert_close(probability.sum(), torch.tensor(1.0, dtype=torch.float64))
    ids = drawn(sampler, 2000)
    found = torch.bincount(ids, minlength=200).double()
    possible = probability > 0
    chi_square = ((found - len(ids) * probability) ** 2 / (len(ids) * probability))[possible].sum().item()
    degrees = int(possible.sum()) - 1
    assert abs(chi_square - degrees) < 5 * (2 * degrees) ** 0.5


def test_from_column_gives_each_row_its_own() -> None:
    interactions = make_interactions([0, 1, 2], [0, 1, 2], negatives=[[3, 4], [], [0, 1, 3]])
    sampler = bound(FromColumn("hard"), interactions)
    assert sampler.column == "hard"
    assert (sampler.num_negatives, sampler.per_row) == (3, True)
    assert sampler.sample(HERE, torch.tensor([2, 1, 0])).tolist() == [[0, 1, 3], [-1, -1, -1], [3, 4, -1]]
    assert sampler.sample(HERE, torch.tensor([1, 0])).tolist() == [[-1, -1], [3, 4]]
    assert sampler.sample(HERE, torch.tensor([1])).shape == (1, 0)
    assert sampler.expected(torch.arange(5)).eq(0).all()


def test_the_lists_of_a_column_may_be_shared_by_the_batch() -> None:
    interactions = make_interactions([0, 1, 2], [0, 1, 2], negatives=[[3, 4], [], [0, 1, 3]])
    sampler = bound(FromColumn("hard", per_row=False), interactions)
    assert sampler.sample(HERE, torch.tensor([2, 1, 0])).tolist() == [0, 1, 3, 3, 4]
    assert sampler.sample(HERE, torch.tensor([1])).tolist() == []
    mixed = bound(Mixed([FromColumn("hard", 1, per_row=False), Uniform(2)]), interactions)
    assert len(mixed.sample(HERE, torch.tensor([2, 1, 0]))) == 4


def test_from_column_draws_a_uniform_subset_of_a_longer_list() -> None:
    interactions = make_interactions([0, 1], [0, 1], negatives=[list(range(10, 17)), [8, 9]])
    sampler = bound(FromColumn("hard", 3), interactions, 20)
    draws = torch.stack([sampler.sample(HERE._replace(step=step), torch.tensor([0, 1])) for step in range(2000)])
    assert (draws[:, 1] == torch.tensor([8, 9, -1])).all()
    assert all(len(set(row)) == 3 for row in draws[:, 0].tolist())
    assert_frequencies(draws[:, 0].flatten() - 10, torch.full((7,), 1 / 7, dtype=torch.float64))


def test_from_shown_draws_the_querys_own_training_rows_with_label_0() -> None:
    interactions = make_interactions(
        query=[0, 0, 0, 1, 1, 2, 2],
        candidate=[0, 1, 2, 3, 4, 0, 1],
        fold=[TRAIN, TRAIN, TRAIN, TRAIN, TEST, TRAIN, TRAIN],
        label=[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0],
    )
    sampler = bound(FromShown(2), interactions)
    assert sampler.sample(HERE, torch.tensor([0, 3, 5])).tolist() == [[1, 2], [3, -1], [-1, -1]]
    one = bound(FromShown(1), interactions)
    assert_frequencies(drawn(one, 1000, torch.tensor([0])) - 1, torch.tensor([0.5, 0.5], dtype=torch.float64))


def test_observed_only_draws_nothing() -> None:
    sampler = bound(ObservedOnly())
    assert (sampler.per_row, sampler.num_negatives) == (True, 0)
    assert sampler.sample(HERE, ROWS).shape == (8, 0)
    assert sampler.expected(torch.arange(5)).tolist() == [0.0] * 5


def test_mixed_draws_side_by_side_and_adds_up_what_is_expected() -> None:
    sampler = bound(Mixed([Uniform(5), Popularity(2, alpha=1.0)]))
    assert sampler.num_negatives == 7
    assert sampler.sample(HERE, ROWS).shape == (7,)
    expected = torch.tensor([1 + 2 * 0.8, 1 + 2 * 0.2, 1, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(sampler.expected(torch.arange(5)), expected)
    assert_frequencies(drawn(sampler, 3000), expected / 7)


def test_mixed_samplers_of_one_class_draw_different_candidates() -> None:
    sampler = bound(Mixed([Uniform(50), Uniform(50)]), num_candidates=1000)
    ids = sampler.sample(HERE, ROWS)
    assert (ids[:50] != ids[50:]).any()


def test_mixed_knows_the_column_and_pads_rows_own() -> None:
    interactions = make_interactions([0, 1], [0, 1], negatives=[[3, 4], [2]])
    sampler = bound(Mixed([FromColumn("hard"), Uniform(4, per_row=True)]), interactions)
    assert (sampler.column, sampler.per_row, sampler.num_negatives) == ("hard", True, 6)
    ids = sampler.sample(HERE, torch.tensor([0, 1]))
    assert ids.shape == (2, 6)
    assert ids[:, :2].tolist() == [[3, 4], [2, -1]]


SAMPLERS = [
    Uniform(4),
    Uniform(4, per_row=True),
    Popularity(4, per_row=True),
    FromColumn("hard", 4),
    FromShown(4),
    Mixed([FromShown(2), Uniform(2, per_row=True)]),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_a_draw_is_a_function_of_the_counter(sampler: NegativeSampler) -> None:
    interactions = make_interactions(
        [0] * 30, list(range(30)), label=[float(i % 2) for i in range(30)], negatives=[list(range(20))] * 30
    )
    bound(sampler, interactions, 50)
    rows = torch.arange(30)
    first = sampler.sample(HERE, rows)
    others = [sampler.sample(HERE._replace(**{place: 9}), rows) for place in ("seed", "epoch", "step", "process_rank")]
    torch.manual_seed(0)  # draws do not depend on the global generator
    torch.testing.assert_close(sampler.sample(Counter(1, 2, 3, 0), rows), first)
    assert all((other != first).any() for other in others)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (Uniform(6), "Uniform: num_negatives is 6, .*5 candidates"),
        (Popularity(6), "Popularity: num_negatives is 6, .*5 candidates"),
        (FromShown(6), "FromShown: num_negatives is 6, .*5 candidates"),
        (FromShown(1), "FromShown: .*no labels"),
        (ObservedOnly(), "ObservedOnly: .*no labels"),
        (FromColumn("hard"), "FromColumn: .*'hard'"),
    ],
)
def test_data_that_does_not_fit_is_named(sampler: NegativeSampler, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bound(sampler, make_interactions([0, 1], [0, 1], [TRAIN, TEST], negatives=[[], [1]]))


def test_nothing_to_draw_from_is_named() -> None:
    with pytest.raises(ValueError, match=r"Popularity: no .*positive"):
        bound(Popularity(1), make_interactions([0, 1], [0, 1], [TEST, TRAIN], [1.0, 0.0]))
    for sampler in (FromShown(1), ObservedOnly()):
        with pytest.raises(ValueError, match=f"{type(sampler).__name__}: no .*label 0"):
            bound(sampler, make_interactions([0, 1], [0, 1], [TEST, TRAIN], [0.0, 1.0]))


def test_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"Uniform: num_negatives is 0; .*1"):
        Uniform(0)
    with pytest.raises(ValueError, match=r"FromColumn: num_negatives is -1; .*1"):
        FromColumn("hard", -1)
    with pytest.raises(ValueError, match=r"Popularity: alpha is 0; .*positive"):
        Popularity(1, alpha=0)
    with pytest.raises(ValueError, match="Mixed: samplers is empty"):
        Mixed([])
    with pytest.raises(ValueError, match=r"Mixed: .*Uniform per_row=False, FromShown per_row=True"):
        Mixed([Uniform(1), FromShown(1)])
    with pytest.raises(ValueError, match=r"Mixed: .*column.* a, b"):
        Mixed([FromColumn("a"), FromColumn("b")])
