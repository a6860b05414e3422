"""SigLIP against the paper's loss over a batch, hand arithmetic and its sibling."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores

from dssm_lightning.losses import BinaryCrossEntropy, SigLIP


def test_siglip_is_the_papers_loss_over_a_batch() -> None:
    logits = 10 * torch.randn(6, 6)
    signs = 2 * torch.eye(6) - torch.ones(6, 6)
    paper = -F.logsigmoid(signs * (logits - 10)).sum() / 6
    torch.testing.assert_close(SigLIP()(make_scores(logits)).mean(), paper)


def test_siglip_by_hand_with_labels() -> None:
    # b = 0 and logits 0: each pair costs log 2; the row that is not liked pushes its own candidate away
    logits = torch.zeros(2, 3, requires_grad=True)
    valid = torch.tensor([[True, True, False], [True, True, True]])
    value = SigLIP(bias=0)(make_scores(logits, valid=valid, label=torch.tensor([1.0, 0.0])))
    torch.testing.assert_close(value, torch.tensor([2 * math.log(2), 3 * math.log(2)]))
    value.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, 0.5, 0.0], [0.5, 0.5, 0.5]]))


def test_siglip_without_bias_is_the_sum_of_binary_cross_entropies() -> None:
    scores = make_scores(torch.randn(4, 9))
    torch.testing.assert_close(SigLIP(bias=0)(scores), 9 * BinaryCrossEntropy()(scores))


def test_the_bias_is_learnt_and_saved() -> None:
    loss, fixed = SigLIP(bias=-10), SigLIP(bias=-1, learnable=False)
    value = loss(make_scores(torch.zeros(3, 3))).sum()
    value.backward()
    # three pairs with σ(−10) − 1, six with σ(−10)
    chance = 1 / (1 + math.exp(10))
    torch.testing.assert_close(loss.bias.grad, torch.tensor([9 * chance - 3]))
    assert [p.requires_grad for p in fixed.parameters()] == [False]
    fixed.load_state_dict(loss.state_dict())
    assert fixed.bias.item() == -10
    assert loss.bias.shape == (1,)


def test_gradients_are_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[300.0, -300.0], [300.0, -300.0]], requires_grad=True)
    SigLIP()(make_scores(logits)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_bias_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="SigLIP: bias is nan"):
        SigLIP(math.nan)
