"""Dot: arithmetic, precision, and the limit of the learnable scale."""

from __future__ import annotations

import pytest
import torch

from dssm_lightning.models.scorers import Dot


def test_logits_are_scaled_dot_products() -> None:
    query, candidate = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(Dot(10.0)(query, candidate), torch.tensor([[110.0, 10.0, -20.0], [40.0, 0.0, -10.0]]))
    assert Dot.indexable


def test_float32_under_autocast_and_for_low_precision_embeddings() -> None:
    generator = torch.Generator().manual_seed(0)
    query, candidate = torch.randn(3, 64, generator=generator), torch.randn(500, 64, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = Dot()(query, candidate)
        low = Dot()(query.bfloat16(), candidate.bfloat16())
    assert logits.dtype == low.dtype == torch.float32
    torch.testing.assert_close(logits, query @ candidate.T)


def test_a_fixed_scale_gets_no_gradient_but_is_saved() -> None:
    fixed, learnt = Dot(20.0), Dot(10.0, learnable=True)
    fixed(torch.ones(2, 3), torch.ones(2, 3, requires_grad=True)).sum().backward()
    assert fixed.log_logit_scale.grad is None
    fixed.load_state_dict(learnt.state_dict())
    torch.testing.assert_close(fixed.logit_scale, torch.tensor([10.0]))


def test_the_scale_learns_up_to_its_limit_and_can_decrease_again() -> None:
    """The loss raises the scale for 30 steps, then lowers it; with plain `clamp` the scale would stay at the limit."""
    scorer = Dot(5.0, learnable=True, max_logit_scale=8.0)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=0.1)
    seen = []
    for step in range(80):
        logit = scorer(torch.ones(1, 1), torch.ones(1, 1)).sum()
        seen.append(logit.item())
        optimizer.zero_grad()
        (-logit if step < 30 else logit).backward()
        optimizer.step()
    assert seen[0] == pytest.approx(5.0)
    assert max(seen) == pytest.approx(8.0)
    assert seen[-1] < 4.0


def test_gradient_of_the_log_scale() -> None:
    # d(scale · x)/d(log scale) = scale · x = 3 · 2
    scorer = Dot(3.0, learnable=True)
    scorer(torch.tensor([[2.0]]), torch.tensor([[1.0]])).sum().backward()
    torch.testing.assert_close(scorer.log_logit_scale.grad, torch.tensor([6.0]))


def test_the_scale_is_not_a_scalar_parameter() -> None:
    """FSDP cannot shard parameters without a dimension."""
    assert Dot().log_logit_scale.shape == (1,)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_positive_is_named(scale: float) -> None:
    with pytest.raises(ValueError, match=f"logit_scale is {scale}"):
        Dot(scale)


def test_a_start_above_the_limit_is_named() -> None:
    with pytest.raises(ValueError, match=r"logit_scale .*200\.0.*max_logit_scale 100\.0"):
        Dot(200.0, learnable=True)
    assert Dot(200.0).logit_scale.item() == pytest.approx(200.0)


def test_towers_of_different_width_are_named() -> None:
    with pytest.raises(ValueError, match=r"query .*64.*candidate .*32"):
        Dot()(torch.ones(2, 64), torch.ones(3, 32))
