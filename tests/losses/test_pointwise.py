"""BinaryCrossEntropy and CosineEmbedding against torch's losses and hand arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores
from torch import nn

from dssm_lightning.losses import BinaryCrossEntropy, CosineEmbedding, Loss


def test_binary_cross_entropy_by_hand() -> None:
    # σ: 3/4, 1/2, 9/10, the target is the second column. Row 0 is liked: log 4 + log 2 + log 10.
    # Row 1 is not liked, its third column is invalid: log 4 + log 2.
    logits = torch.tensor([3.0, 1.0, 9.0]).log().repeat(2, 1)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    value = BinaryCrossEntropy()(make_scores(logits, [1, 1], valid=valid, label=[1.0, 0.0]))
    torch.testing.assert_close(value, torch.tensor([math.log(80) / 3, math.log(8) / 2]))


def test_binary_cross_entropy_is_torchs_over_the_scored_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator)
    target = [0, 4, 2, 2, 1, 3]
    label = torch.eye(5)[target]
    value = BinaryCrossEntropy()(make_scores(logits, target))
    torch.testing.assert_close(value.mean(), nn.BCEWithLogitsLoss()(logits, label))


def test_rows_without_a_negative_are_scored_by_their_label() -> None:
    logits = torch.tensor([[2.0, 7.0], [7.0, -1.0]])
    valid = torch.tensor([[True, False], [False, True]])
    value = BinaryCrossEntropy()(make_scores(logits, [0, 1], valid=valid, label=[1.0, 0.0]))
    torch.testing.assert_close(value, F.softplus(torch.tensor([-2.0, -1.0])))


def test_cosine_embedding_is_torchs_over_the_scored_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    query, candidate = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    target, label = [1, 0, 4, 2], [1.0, 0.0, 1.0, 0.0]
    value = CosineEmbedding(0.1)(
        make_scores(F.normalize(query) @ F.normalize(candidate).T, target, label=label),
    )
    torchs = nn.CosineEmbeddingLoss(margin=0.1)
    for q in range(4):
        sign = torch.full((5,), -1.0)
        sign[target[q]] = 1.0 if label[q] else -1.0
        torch.testing.assert_close(value[q], torchs(query[q].expand(5, 3), candidate, sign))


def test_cosine_embedding_by_hand() -> None:
    # liked with cosine 0.8: 0.2; not liked with 0.6 and 0.1: 0.1 above the margin, and 0
    value = CosineEmbedding(0.5)(make_scores(torch.tensor([[0.8, 0.6, 0.1]]), [0]))
    torch.testing.assert_close(value, torch.tensor([0.1]))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), CosineEmbedding()])
def test_gradients_are_finite_and_zero_outside_the_valid_columns(loss: Loss) -> None:
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, True]])
    loss(make_scores(logits, [0, 0], valid=valid)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[~valid].eq(0).all()


def test_both_use_labels() -> None:
    assert BinaryCrossEntropy.uses_labels
    assert CosineEmbedding.uses_labels


def test_a_margin_outside_the_cosines_is_named() -> None:
    with pytest.raises(ValueError, match=r"margin is 1\.5.*\[-1, 1\)"):
        CosineEmbedding(1.5)
