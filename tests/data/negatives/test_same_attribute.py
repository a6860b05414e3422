"""LogUniform and SameAttribute: the draws, their frequencies, and their agreement with `expected`."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TEST, TRAIN, Interactions
from dssm_lightning.data.negatives import LogUniform, Mixed, NegativeSampler, SameAttribute, SamplerTables, Uniform
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter

HERE = Counter(seed=1, epoch=2, step=3, process_rank=0)


def make_interactions(candidate: list[int], fold: list[int] | None = None) -> Interactions:
    """Make one query that likes all of these candidates."""
    folds = torch.tensor([TRAIN] * len(candidate) if fold is None else fold, dtype=torch.int8)
    return Interactions(torch.zeros(len(candidate), dtype=torch.int64), torch.tensor(candidate), folds, *[None] * 4)


# Six candidates: 0, 1, 3 are comedies, 1 and 2 are dramas, 4 is the only western, 5 has no genre.
GENRES = pl.DataFrame({"genres": [["comedy"], ["drama", "comedy"], ["drama"], ["comedy", "comedy"], ["western"], []]})
REGIONS = pl.DataFrame({"region": ["north", "south", "north", "north", None, None]})
# 0 is liked three times, 1 twice, 2 and 4 once, 3 in the test fold only.
LIKES = make_interactions([0, 0, 0, 1, 1, 2, 4, 3], [TRAIN] * 7 + [TEST])


def bound(sampler: NegativeSampler, corpus: pl.DataFrame, interactions: Interactions = LIKES) -> NegativeSampler:
    """Bind the sampler to interactions and corpus, and return it."""
    sampler.bind(SamplerTables(interactions, 1, len(corpus), corpus))
    return sampler


def frequencies(sampler: NegativeSampler, rows: Tensor, times: int, N: int = 6) -> Tensor:
    """Return the mean number of draws of each candidate in one sample, (N + 1,); the last number counts −1."""
    ids = torch.cat([sampler.sample(HERE._replace(step=step), rows).flatten() for step in range(times)])
    return torch.bincount(ids % (N + 1), minlength=N + 1).double() / times


def assert_near(found: Tensor, expected: Tensor, times: int) -> None:
    """Check that counts, at most Poisson-distributed, are within five standard deviations."""
    assert (abs(found - expected) <= 5 * (expected / times).sqrt() + 1e-12).all(), (found, expected)


# -- LogUniform -------------------------------------------------------------------------------------------------------


def test_log_uniform_draws_by_place_in_the_order_of_popularity() -> None:
    # popularity 3, 2, 1, 0, 1, 0: places 0, 1, 2, 4, 3, 5 (equal popularity by corpus row)
    sampler = bound(LogUniform(4), GENRES)
    expected = torch.tensor(
        [4 * (math.log(k + 2) - math.log(k + 1)) / math.log(7) for k in (0, 1, 2, 4, 3, 5)], dtype=torch.float64
    )
    torch.testing.assert_close(sampler.expected(torch.arange(6)), expected)
    torch.testing.assert_close(expected.sum().item(), 4.0)
    assert_near(frequencies(sampler, torch.arange(8), 3000)[:6], expected, 3000)
    assert sampler.sample(HERE, torch.arange(8)).shape == (4,)
    assert bound(LogUniform(4, per_row=True), GENRES).sample(HERE, torch.arange(8)).shape == (8, 4)


def test_log_uniform_needs_a_popularity() -> None:
    with pytest.raises(ValueError, match=r"LogUniform: no .*positive"):
        bound(LogUniform(1), GENRES, make_interactions([0], [TEST]))


# -- SameAttribute ----------------------------------------------------------------------------------------------------


def test_a_row_gets_others_of_its_own_value() -> None:
    sampler = bound(SameAttribute("region", 2), REGIONS)
    assert sampler.per_row
    assert sampler.column is None
    rows = torch.tensor(
        [0, 5, 7, 3, 6]
    )  # their candidates are 0, 2, 3 (north), 1 (the only one in the south) and 4 (without a region)
    draws = torch.stack([sampler.sample(HERE._replace(step=step), rows) for step in range(300)])
    assert draws.shape == (300, 5, 2)
    found = [sorted(set(draws[:, row].flatten().tolist())) for row in range(5)]
    assert found == [[2, 3], [0, 3], [0, 2], [-1], [-1]]
    first = draws[:, 0].flatten()
    assert abs((first == 2).double().mean() - 0.5) < 5 * (0.25 / len(first)) ** 0.5


def test_a_column_of_lists_shares_any_value() -> None:
    """For candidate 1, half of the draws are a drama (2), and the other half comedies (0, 3)."""
    sampler = bound(SameAttribute("genres", 1), GENRES)
    found = frequencies(sampler, torch.tensor([3]), 4000)
    assert_near(found, torch.tensor([0.25, 0, 0.5, 0.25, 0, 0, 0], dtype=torch.float64), 4000)
    assert frequencies(sampler, torch.tensor([6]), 5)[6] == 1  # there is no other western
    # likes 3, 2, 1, 0, 1 of 7: 0 from 1's quarter; 1 from 0's half and from 2; 2 from 1's half; 3 from 0 and 1
    expected = torch.tensor([2 / 4, 3 / 2 + 1, 2 / 2, 3 / 2 + 2 / 4, 0, 0], dtype=torch.float64) / 7
    torch.testing.assert_close(sampler.expected(torch.arange(6)), expected)


@pytest.mark.parametrize("per_row", [True, False])
def test_expected_is_what_the_average_training_row_draws(per_row: bool) -> None:
    """A shared draw is made for a random row; draws per row are averaged over the rows."""
    sampler = bound(SameAttribute("genres", 3, per_row), GENRES)
    training = torch.arange(7)
    assert sampler.sample(HERE, training).shape == ((7, 3) if per_row else (3,))
    found = frequencies(sampler, training, 4000)[:6] / (7 if per_row else 1)
    assert_near(found, sampler.expected(torch.arange(6)), 4000)


def test_mixed_with_uniform() -> None:
    sampler = bound(Mixed([SameAttribute("region", 2), Uniform(3, per_row=True)]), REGIONS)
    draws = sampler.sample(HERE, torch.tensor([0, 3]))
    assert draws.shape == (2, 5)
    assert draws[1, :2].tolist() == [-1, -1]
    alone = bound(SameAttribute("region", 2), REGIONS).expected(torch.arange(6))
    torch.testing.assert_close(sampler.expected(torch.arange(6)), alone + 0.5)


@pytest.mark.parametrize("sampler", [SameAttribute("region", 3), SameAttribute("region", 30, False), LogUniform(30)])
def test_a_draw_is_a_function_of_the_counter(sampler: NegativeSampler) -> None:
    corpus = pl.DataFrame({"region": [i % 3 for i in range(60)]})
    bound(sampler, corpus, make_interactions(list(range(60))))
    rows = torch.arange(40)
    first = sampler.sample(HERE, rows)
    torch.manual_seed(7)  # draws do not depend on the global generator
    assert torch.equal(sampler.sample(Counter(1, 2, 3, 0), rows), first)
    assert all(
        not torch.equal(sampler.sample(HERE._replace(**{place: 9}), rows), first)
        for place in ("seed", "epoch", "step", "process_rank")
    )


def test_data_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"SameAttribute: .*'genre'; .*'genres'"):
        bound(SameAttribute("genre", 1), GENRES)
    with pytest.raises(ValueError, match=r"SameAttribute: no two candidates .*'title'"):
        bound(SameAttribute("title", 1), pl.DataFrame({"title": ["a", "b", None, None]}), make_interactions([0]))
    with pytest.raises(ValueError, match=r"SameAttribute: num_negatives is 7, .*6 candidates"):
        bound(SameAttribute("region", 7), REGIONS)
    with pytest.raises(ValueError, match=r"SameAttribute: num_negatives is 0; .*1"):
        SameAttribute("region", 0)


NAN, UNIT = float("nan"), timedelta(days=1)


@pytest.mark.parametrize(
    "values",
    [
        ["x", "x", "y"],
        [1.5, 1.5, 2.0],
        [0.0, -0.0, 1.0],
        [True, True, False],
        [date(2024, 1, 1)] * 2 + [date(2024, 1, 2)],
        [datetime(2024, 1, 1)] * 2 + [datetime(2024, 1, 2)],
        [UNIT, UNIT, 2 * UNIT],
        [Decimal("1.5"), Decimal("1.5"), Decimal(2)],
        [{"a": 1}, {"a": 1}, {"a": 2}],
        [[1.5, NAN], [1.5], [NAN, None]],
        [[["x"]], [["x"]], [["y"]]],
        pl.Series([2**63 + 1, 2**63 + 1, 2**63], dtype=pl.UInt64),
        pl.Series(["x", "x", "y"], dtype=pl.Categorical),
        pl.Series([[1, 2], [2, 3], [4, 5]], dtype=pl.Array(pl.Int64, 2)),
    ],
    ids=str,
)
def test_values_of_any_type_are_compared(values: list[Any]) -> None:
    """Candidates 0 and 1 share a value, candidate 2 shares none; a missing value is never shared."""
    candidates = pl.DataFrame({"kind": pl.Series(values)})
    likes = Interactions(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.int8))
    sampler = SameAttribute("kind", num_negatives=1)
    sampler.bind(SamplerTables(likes, num_queries=3, num_candidates=3, candidates=candidates))
    assert sampler.sample(Counter(seed=0), torch.tensor([0, 1, 2])).tolist() == [[1], [0], [-1]]


@pytest.mark.parametrize("values", [[None] * 3, [NAN] * 3, [[None], [NAN], [None]], [[], [], []]], ids=str)
def test_missing_values_are_not_shared(values: list[Any]) -> None:
    candidates = pl.DataFrame({"kind": pl.Series(values)})
    likes = Interactions(torch.tensor([0]), torch.tensor([0]), torch.zeros(1, dtype=torch.int8))
    with pytest.raises(UserError, match="no two candidates share a value of column 'kind'"):
        SameAttribute("kind", 1).bind(SamplerTables(likes, 1, 3, candidates))
