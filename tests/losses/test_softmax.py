"""SampledSoftmax against hand arithmetic, naive softmaxes with repeated columns, and an enumeration of all batches."""

from __future__ import annotations

import itertools
import math
from typing import Literal, get_args

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores

from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.losses.softmax import Repeats


def test_hand_arithmetic() -> None:
    # exp: 1, 3, 6 -> target 3 of 10; without the last column 3 of 4
    logits = torch.tensor([[1.0, 3.0, 6.0], [1.0, 3.0, 6.0]]).log()
    valid = torch.tensor([[True, True, True], [True, True, False]])
    value = SampledSoftmax()(make_scores(logits, torch.tensor([1, 1]), valid=valid))
    torch.testing.assert_close(value, torch.tensor([math.log(10 / 3), math.log(4 / 3)]))


def test_count_is_the_in_batch_softmax_with_repeated_columns() -> None:
    """Five rows have three distinct candidates, a fourth candidate is sampled: TFRS scores 5 + 1 columns."""
    owner = torch.tensor([0, 1, 0, 2, 0])
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    count = torch.tensor([3.0, 1.0, 1.0, 0.0])
    ours = SampledSoftmax("count")(make_scores(logits, owner, count=count))
    (gradient,) = torch.autograd.grad(ours.sum(), logits)

    repeated = logits[:, torch.cat([owner, torch.tensor([3])])]  # (5, 6)
    usual = F.cross_entropy(repeated, torch.arange(5), reduction="none")
    (usual_gradient,) = torch.autograd.grad(usual.sum(), logits)
    torch.testing.assert_close(gradient, usual_gradient)
    torch.testing.assert_close(ours, usual - count[owner].log())  # all copies of the target are hits


def test_count_log_q_subtracts_the_log_of_the_expected_number() -> None:
    # exp: 1, 3, 6; counts 2, 1, 1 (sampled); expected 4, 0.5, 2 -> 1·2/4, 3·1/0.5, 6·1/2 = 0.5, 6, 3
    scores = make_scores(
        torch.tensor([[1.0, 3.0, 6.0]]).log(),
        torch.tensor([0]),
        count=torch.tensor([2.0, 1.0, 0.0]),
        log_q=torch.tensor([4.0, 0.5, 2.0]).log(),
    )
    torch.testing.assert_close(SampledSoftmax("count_log_q")(scores), torch.tensor([math.log(9.5 / 0.5)]))


def test_inclusion_divides_by_the_probability_of_inclusion() -> None:
    # Poisson with mean log 2 and log 4: included with probability 1/2 and 3/4 -> 1 · 2, 3 · 4/3 = 2, 4
    log_q = torch.tensor([math.log(2), math.log(4)]).log()
    scores = make_scores(torch.tensor([[1.0, 3.0]]).log(), torch.tensor([0]), log_q=log_q)
    torch.testing.assert_close(SampledSoftmax("inclusion")(scores), torch.tensor([math.log(3)]))


def test_inclusion_keeps_its_digits_for_rare_candidates() -> None:
    log_q = torch.tensor([-20.0, 0.0])
    value = SampledSoftmax("inclusion")(make_scores(torch.zeros(1, 2), torch.tensor([1]), log_q=log_q))
    weight = [1 / -math.expm1(-math.exp(q)) for q in log_q.tolist()]
    torch.testing.assert_close(value, torch.tensor([math.log(sum(weight) / weight[1])]))


@pytest.mark.parametrize(("repeats", "unbiased"), [("inclusion", True), ("ignore", False)])
def test_inclusion_learns_the_softmax_over_the_corpus(repeats: Repeats, unbiased: bool) -> None:
    """The gradient, summed over all possible batches, is zero at the true log-probabilities."""
    likes = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64)
    included = torch.tensor([0.9, 0.5, 0.3, 0.05], dtype=torch.float64)
    log_q = (-(1 - included).log()).log()
    logits = likes.log().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for target in range(4):
        for drawn in itertools.product([False, True], repeat=4):
            chance = likes[target] * torch.where(torch.tensor(drawn), included, 1 - included).prod()
            valid = torch.tensor(drawn)
            valid[target] = True
            scores = make_scores(logits[None], torch.tensor([target]), valid=valid[None], log_q=log_q)
            total = total + chance * SampledSoftmax(repeats)(scores).squeeze()
    (gradient,) = torch.autograd.grad(total, logits)
    assert (gradient.abs().max() < 1e-12) == unbiased


@pytest.mark.parametrize("repeats", get_args(Repeats))
def test_a_row_without_a_negative_is_zero_and_every_gradient_finite(repeats: Repeats) -> None:
    logits = torch.tensor([[5.0, -3.0], [80.0, 2.0]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, True]])
    log_q = torch.tensor([-200.0, 3.0])
    value = SampledSoftmax(repeats)(make_scores(logits, torch.tensor([0, 1]), valid=valid, log_q=log_q))
    value.sum().backward()
    assert value[0] == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].eq(0).all()


@pytest.mark.parametrize("repeats", ["count_log_q", "inclusion"])
def test_a_column_that_was_not_drawn_at_random_is_not_corrected(
    repeats: Literal["count_log_q", "inclusion"],
) -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    scores = make_scores(logits, torch.tensor([0]), log_q=torch.full((3,), -math.inf))
    torch.testing.assert_close(SampledSoftmax(repeats)(scores), SampledSoftmax("ignore")(scores))


def test_unknown_repeats_is_named() -> None:
    with pytest.raises(ValueError, match=r"repeats is 'logq'.*ignore, count, count_log_q, inclusion, refined"):
        SampledSoftmax("logq")  # type: ignore[arg-type]  # YAML may hold it
