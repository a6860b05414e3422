"""WARP and HardestNegative against naive loops over the negatives, hand arithmetic and their siblings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.case_names import named
from helpers.scores import make_scores, negative_columns, random_scores

from dssm_lightning.losses import WARP, HardestNegative, Loss, SampledSoftmax, TripletMargin

# -- WARP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_trials", [None, 2])
@pytest.mark.parametrize("weight", ["harmonic", "log"])
def test_warp_is_the_loop_that_draws_until_a_negative_violates(weight: Any, max_trials: int | None) -> None:
    scores = random_scores()
    torch.manual_seed(5)
    value = WARP(0.5, max_trials, weight)(scores)
    torch.manual_seed(5)
    order = torch.rand(8, 12)
    expected = []
    for q in range(8):
        negatives, found = sorted(negative_columns(scores, q), key=lambda c: order[q, c].item()), 0.0
        for trial, c in enumerate(negatives[:max_trials], 1):
            violation = 0.5 + (scores.logits[q, c] - scores.logits[q, q]).item()
            if violation > 0:
                rank = len(negatives) // trial
                phi = math.log(1 + rank) if weight == "log" else sum(1 / i for i in range(1, rank + 1))
                found = phi * violation
                break
        expected.append(found)
    torch.testing.assert_close(value, torch.tensor(expected))
    assert sum(v > 0 for v in expected) >= 4


def test_warp_by_hand() -> None:
    # Six negatives violate by 1.5: the first draw violates, so the rank is 6 and Φ is 1 + 1/2 + … + 1/6 = 2.45.
    # One of two negatives violates, by 0.5: at the first draw (rank 2, Φ 1.5) or the second (rank 1, Φ 1).
    value = WARP(1.0)(make_scores(torch.tensor([[0.0] + [0.5] * 6]), [0]))
    torch.testing.assert_close(value, torch.tensor([2.45 * 1.5]))
    scores = make_scores(torch.tensor([[2.0, 1.5, 0.0]]), [0])
    values = {round(WARP(1.0)(scores).item(), 5) for _ in range(40)}
    assert values == {0.5 * 1.5, 0.5 * 1.0}


def test_warp_draws_all_orders_with_equal_probability() -> None:
    """10 of 40 negatives violate: the number of the first violating draw has the distribution without replacement."""
    logits = torch.tensor([0.0] + [1.0] * 10 + [-5.0] * 30).expand(4000, -1)
    scores = make_scores(logits, [0] * 4000)
    _, trials = WARP(1.0)._first_violator(scores)
    chance = torch.tensor([math.comb(40 - k, 9) / math.comb(40, 10) for k in range(1, 32)])
    found = torch.bincount(trials - 1, minlength=31) / 4000
    assert (found - chance).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_warp_is_a_function_of_torchs_generator() -> None:
    scores = random_scores()
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(WARP(2.0)(scores))
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


# -- HardestNegative --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [None, 0.5])
@pytest.mark.parametrize("number", [1, 3, 50])
def test_hardest_is_a_naive_loop(number: int, margin: float | None) -> None:
    scores = random_scores()
    expected = []
    for q in range(8):
        positive = scores.logits[q, q].item()
        hardest = sorted((scores.logits[q, c].item() for c in negative_columns(scores, q)), reverse=True)[:number]
        if margin is None:
            expected.append(math.log(1 + sum(math.exp(s - positive) for s in hardest)))
        else:
            costs = [max(0.0, margin + s - positive) for s in hardest]
            expected.append(sum(costs) / len(costs) if costs else 0.0)
    torch.testing.assert_close(HardestNegative(number, margin)(scores), torch.tensor(expected))


def test_hardest_and_its_siblings() -> None:
    scores = random_scores()
    torch.testing.assert_close(HardestNegative(1, 0.3)(scores), TripletMargin(0.3, "hardest")(scores))
    torch.testing.assert_close(HardestNegative(11, 0.3)(scores), TripletMargin(0.3)(scores))
    torch.testing.assert_close(HardestNegative(11)(scores), SampledSoftmax()(scores))


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", [WARP(2.0), WARP(2.0, weight="log"), HardestNegative(2), HardestNegative(2, margin=0.5)], ids=named
)
def test_gradients_are_finite_and_zero_where_nothing_is_compared(loss: Loss) -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [-90.0, 90.0, 90.0], [1.0, 1.0, 1.0]], requires_grad=True)
    valid = torch.tensor([[True, False, False], [True, True, True], [True, True, False]])
    value = loss(make_scores(logits, [0, 0, 0], valid=valid))
    value.sum().backward()
    assert value[0] == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[~valid].eq(0).all()
    assert logits.grad[0].eq(0).all()
    assert (logits.grad[1:, 0] < 0).all(), "the target is pulled up"
    torch.testing.assert_close(logits.grad.sum(1), torch.zeros(3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WARP(0), "WARP: margin is 0"),
        (lambda: WARP(max_trials=0), "WARP: max_trials is 0"),
        (lambda: WARP(weight="linear"), "WARP: weight is 'linear'.*harmonic, log"),  # type: ignore[arg-type]  # YAML may hold it
        (lambda: HardestNegative(0), "HardestNegative: num_negatives is 0"),
        (lambda: HardestNegative(1, math.inf), "HardestNegative: margin is inf"),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
