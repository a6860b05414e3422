"""SampledSoftmax("refined"): the gradient of the softmax over the corpus, and its estimate from mixed draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores
from torch import Tensor

from dssm_lightning.losses import SampledSoftmax, Scores


def gradient(loss: SampledSoftmax, scores: Scores) -> Tensor:
    """(Q, C)"""
    logits = scores.logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(scores._replace(logits=logits)).sum(), logits)
    return found


def test_by_hand() -> None:
    # exp: 2, 3, 6; included with probability 1 (not drawn), 1/2, 3/4: Z = 3 · 2 + 6 · 4/3 = 14, P = 2 / 16
    log_q = torch.tensor([-math.inf, math.log(math.log(2)), math.log(math.log(4))])
    scores = make_scores(torch.tensor([[2.0, 3.0, 6.0]]).log(), [0], log_q=log_q)
    value = SampledSoftmax("refined")(scores)
    torch.testing.assert_close(value, torch.tensor([14 / 16 * math.log(14 / 2)]))
    # (1 − P) times (−1, the shares 6/14 and 8/14)
    torch.testing.assert_close(gradient(SampledSoftmax("refined"), scores), torch.tensor([[-14.0, 6.0, 8.0]]) / 16)


def test_the_targets_own_frequency_does_not_matter() -> None:
    logits = torch.randn(1, 4)
    rare, common = (torch.tensor([q, 0.0, -1.0, 1.0]) for q in (-9.0, 9.0))
    loss = SampledSoftmax("refined")
    torch.testing.assert_close(loss(make_scores(logits, [0], log_q=rare)), loss(make_scores(logits, [0], log_q=common)))


def test_the_gradient_is_the_full_softmaxs_if_the_batch_holds_the_whole_corpus() -> None:
    logits = torch.randn(5, 8)
    full = logits.clone().requires_grad_()
    F.cross_entropy(full, torch.arange(5), reduction="sum").backward()
    for log_q in (torch.full((8,), 40.0), torch.full((8,), -math.inf)):
        found = gradient(SampledSoftmax("refined"), make_scores(logits, list(range(5)), log_q=log_q))
        torch.testing.assert_close(found, full.grad)


def test_it_is_the_papers_formula_for_draws_from_one_distribution() -> None:
    """n draws from Q, all rare: Z = 1/n' Σ exp(s) / Q'(j), with Q' = Q / (1 − Q(t)) and expected n' = n (1 − Q(t))."""
    corpus = 10**6
    logits, count = torch.randn(1, 6, dtype=torch.float64), 40
    q = torch.rand(6, dtype=torch.float64) / corpus
    others = q[0].neg() + 1
    corrected = (logits[0, 1:] - (q[1:] / others).log()).exp()  # exp(s − log Q')
    draws = count * others
    share = (logits[0, 0].exp() / (logits[0, 0].exp() + corrected.sum() / draws)).item()
    paper = (1 - share) * (corrected.sum() / draws / logits[0, 0].exp()).log()
    value = SampledSoftmax("refined")(make_scores(logits, [0], log_q=(count * q).log()))
    torch.testing.assert_close(value[0], paper, rtol=1e-4, atol=0)


def test_the_sum_over_the_others_is_unbiased_for_a_mixture_of_draws() -> None:
    """All possible batches of in-batch and uniform proposals: the mean of Z is the sum over the corpus without t."""
    logits = torch.tensor([0.3, 1.2, -0.5, 0.1], dtype=torch.float64)
    expected = 3 * torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64) + 2 / 4  # B·p + n·q
    included = 1 - (-expected).exp()
    total = torch.zeros((), dtype=torch.float64)
    for drawn in itertools.product([False, True], repeat=3):
        valid = torch.tensor([True, *drawn])
        chance = torch.where(valid, included, 1 - included)[1:].prod()
        if any(drawn):
            row = logits[None].clone().requires_grad_()
            scores = make_scores(row, [0], log_q=expected.log(), valid=valid[None])
            value = SampledSoftmax("refined")(scores)
            (pull,) = torch.autograd.grad(value.sum(), row)
            wrong = -pull[0, 0]  # 1 − P = Z / (exp(s_t) + Z)
            total = total + chance * logits[0].exp() * wrong / (1 - wrong)
    torch.testing.assert_close(total, logits[1:].exp().sum())


def test_a_rare_target_is_pulled_as_the_full_softmax_pulls_it() -> None:
    """The bias in the paper: if a rare target is corrected like a sample, its gradient is too small.

    199 candidates have logit 0 and the target has logit 3, so 1 − P = 199 / (199 + e³) = 0.908. One batch in 20 draws
    the target by chance. Corrected by 1/0.05, its share is about 20 e³ / (199 + 20 e³), and the gradient 0.33.
    """
    logits = torch.zeros(1, 200)
    logits[0, 0] = 3.0
    expected = torch.cat([torch.tensor([0.05]), torch.linspace(0.2, 4, 199)])
    pull = {"refined": 0.0, "count_log_q": 0.0}
    for _ in range(200):
        count = torch.poisson(expected)
        count[0] += 1  # the row's own candidate
        scores = Scores(logits, torch.tensor([0]), count[None] > 0, count, expected.log(), None)
        for name in pull:
            pull[name] -= gradient(SampledSoftmax(name), scores)[0, 0].item() / 200  # type: ignore[arg-type]  # a literal each
    assert pull["refined"] == pytest.approx(199 / (199 + math.exp(3)), abs=0.01)
    assert pull["count_log_q"] < 0.4
