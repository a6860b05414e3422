"""GBCE: by hand, against a loop in double precision, and its calibration where the negatives are a sample."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.scores import make_scores, negative_columns, random_scores

from dssm_lightning.losses import GBCE, BinaryCrossEntropy, Scores


def test_by_hand() -> None:
    # σ: 3/4, 1/2, 9/10; the target is the second column, two of the 8 others are negatives: α = 1/4, β = .5 / 4 + .5.
    # Row 1: its third column is invalid: α = 1/8, β = .5 / 8 + .5.
    logits = torch.tensor([3.0, 1.0, 9.0]).log().repeat(2, 1)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    scores = make_scores(logits, [1, 1], valid=valid)._replace(num_candidates=9)
    loss = GBCE(t=0.5)
    torch.testing.assert_close(loss.beta(scores), torch.tensor([0.625, 0.5625]))
    expected = [(0.625 * math.log(2) + math.log(40)) / 3, (0.5625 * math.log(2) + math.log(4)) / 2]
    torch.testing.assert_close(loss(scores), torch.tensor(expected))


@pytest.mark.parametrize("t", [0.0, 0.3, 0.75, 1.0])
def test_against_a_loop_over_the_papers_formula(t: float) -> None:
    scores = random_scores()._replace(num_candidates=40)  # the last query has no negative
    for q, value in enumerate(GBCE(t)(scores).tolist()):
        sigmoid = [1 / (1 + math.exp(-float(logit))) for logit in scores.logits[q]]
        negatives = negative_columns(scores, q)
        alpha = len(negatives) / 39
        beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha) if alpha else 1 - t
        total = -math.log(sigmoid[int(scores.target[q])] ** beta) - sum(math.log(1 - sigmoid[c]) for c in negatives)
        assert value == pytest.approx(total / (1 + len(negatives)), abs=1e-6)


def test_without_calibration_and_with_the_whole_corpus_it_is_the_cross_entropy() -> None:
    label = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    scores = random_scores()._replace(label=torch.tensor(label), num_candidates=500)
    torch.testing.assert_close(GBCE(t=0.0)(scores), BinaryCrossEntropy()(scores))
    whole = make_scores(torch.randn(3, 6))._replace(num_candidates=6)
    torch.testing.assert_close(GBCE(t=1.0)(whole), BinaryCrossEntropy()(whole))


@pytest.mark.parametrize("t", [0.0, 1.0])
@pytest.mark.parametrize("p", [0.5, 0.2, 0.01])
def test_a_calibrated_loss_is_least_at_the_probability_itself(t: float, p: float) -> None:
    """A candidate is the positive with probability p, and else one of the n sampled negatives, at the rate α.

    The expected gradient of its logit s is 0 at σ(s) = p for t = 1, and at p / (p + α (1 − p)) for t = 0.
    """
    n, num_candidates = 3, 51
    alpha = n / (num_candidates - 1)
    learned = p if t == 1 else p / (p + alpha * (1 - p))
    logits = torch.zeros(2, 1 + n)
    logits[:, 0] = math.log(learned / (1 - learned))  # the positive of row 0, a negative of row 1
    logits.requires_grad_()
    value = GBCE(t)(make_scores(logits, [0, 1])._replace(num_candidates=num_candidates))
    (value * torch.tensor([p, alpha * (1 - p)])).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad[:, 0].sum()) == pytest.approx(0.0, abs=1e-7)
    assert float(logits.grad[0, 0]) < -1e-4


def test_extreme_logits_and_tiny_rates_are_finite() -> None:
    logits = torch.tensor([[3000.0, -3000.0], [-3000.0, 3000.0]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, True]])
    scores = make_scores(logits, [0, 0], valid=valid)._replace(num_candidates=100_000_000)
    loss = GBCE(t=1.0)
    assert loss.beta(scores).tolist() == pytest.approx([0.0, 1e-8], rel=1e-5)  # no digit is lost beside 1
    value = loss(scores)
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[~valid].eq(0).all()


def test_a_batch_with_more_columns_than_the_corpus_has_a_rate_of_1() -> None:
    assert GBCE(1.0).beta(make_scores(torch.zeros(1, 9))._replace(num_candidates=1)).tolist() == [1.0]


@pytest.mark.parametrize("t", [-0.1, 1.5, math.nan, True, "half"])
def test_a_calibration_outside_0_and_1_is_named(t: float) -> None:
    with pytest.raises(ValueError, match=rf"GBCE: t is {t}.*\[0, 1\]"):
        GBCE(t)


def test_scores_that_do_not_know_the_corpus_are_refused() -> None:
    scores: Scores = make_scores(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"GBCE.*num_candidates"):
        GBCE()(scores)
