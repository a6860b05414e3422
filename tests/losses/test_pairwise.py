"""TripletMargin and BPR against torch's losses, naive loops and hand arithmetic."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores, negative_columns, random_scores
from torch import nn

from dssm_lightning.losses import BPR, Loss, SampledSoftmax, Scores, TripletMargin
from dssm_lightning.losses.pairwise import Negatives


def negative_logits(scores: Scores, q: int) -> list[float]:
    """The logits of a query's valid negatives."""
    return [scores.logits[q, c].item() for c in negative_columns(scores, q)]


def test_triplet_all_by_hand() -> None:
    # target 0.5, margin 0.2: negatives 0.1, 0.4, 0.9 cost 0, 0.1, 0.6
    value = TripletMargin(0.2)(make_scores(torch.tensor([[0.5, 0.1, 0.4, 0.9]]), [0]))
    torch.testing.assert_close(value, torch.tensor([0.7 / 3]))


def test_triplet_hardest_and_semi_hard_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.1, 0.4, 0.9], [0.5, 0.6, 0.5, 0.9]])  # the second row has nothing below its target
    scores = make_scores(logits, [0, 0])
    torch.testing.assert_close(TripletMargin(0.2, "hardest")(scores), torch.tensor([0.6, 0.6]))
    torch.testing.assert_close(TripletMargin(0.2, "semi_hard")(scores), torch.tensor([0.1, 0.2]))


def test_triplet_is_torchs_on_triplets() -> None:
    generator = torch.Generator().manual_seed(2)
    query, positive, negative = (F.normalize(torch.randn(6, 4, generator=generator)) for _ in range(3))
    logits = torch.stack([(query * positive).sum(1), (query * negative).sum(1)], 1)
    torchs = nn.TripletMarginWithDistanceLoss(
        distance_function=lambda a, b: 1 - F.cosine_similarity(a, b), margin=0.3, reduction="none"
    )
    torch.testing.assert_close(TripletMargin(0.3)(make_scores(logits, [0] * 6)), torchs(query, positive, negative))


@pytest.mark.parametrize("which", get_args(Negatives))
def test_triplet_is_a_naive_loop(which: Negatives) -> None:
    scores = random_scores()
    expected = []
    for q in range(8):
        positive, negatives = scores.logits[q, q].item(), negative_logits(scores, q)
        if negatives and which == "hardest":
            negatives = [max(negatives)]
        elif negatives and which == "semi_hard":
            below = [s for s in negatives if s < positive]
            negatives = [max(below) if below else min(negatives)]
        costs = [max(0.0, 0.5 + s - positive) for s in negatives]
        expected.append(sum(costs) / len(costs) if costs else 0.0)
    torch.testing.assert_close(TripletMargin(0.5, which)(scores), torch.tensor(expected))


def test_bpr_is_a_naive_loop() -> None:
    scores = random_scores()
    expected = []
    for q in range(8):
        costs = [-math.log(1 / (1 + math.exp(s - scores.logits[q, q].item()))) for s in negative_logits(scores, q)]
        expected.append(sum(costs) / len(costs) if costs else 0.0)
    torch.testing.assert_close(BPR()(scores), torch.tensor(expected))


def test_bpr_of_one_negative_is_the_softmax_of_two() -> None:
    scores = make_scores(torch.randn(5, 2, generator=torch.Generator().manual_seed(3)), [0, 1, 1, 0, 0])
    torch.testing.assert_close(BPR()(scores), SampledSoftmax()(scores))


@pytest.mark.parametrize("loss", [BPR(), *(TripletMargin(0.2, which) for which in get_args(Negatives))])
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


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="TripletMargin: margin is 0"):
        TripletMargin(0)
    with pytest.raises(ValueError, match=r"negatives is 'semihard'.*all, hardest, semi_hard"):
        TripletMargin(0.2, "semihard")  # type: ignore[arg-type]  # YAML may hold it
