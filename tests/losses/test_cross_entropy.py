"""The cross-entropy in one pass: compared with torch's in float64, at its limits, and differentiated twice."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses import cross_entropy as module
from dssm_lightning.losses.cross_entropy import cross_entropy

ROWS, COLUMNS = 37, 23


def problem(scale: float = 5.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets, and a mask that leaves the last row its target alone."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(ROWS, COLUMNS, generator=generator) * scale
    target = torch.randint(0, COLUMNS, (ROWS,), generator=generator)
    valid = torch.rand(ROWS, COLUMNS, generator=generator) > 0.4
    valid[-1] = False
    return logits, target, valid.scatter_(1, target[:, None], True)


def reference(logits: Tensor, target: Tensor, correction: Tensor | None, valid: Tensor | None) -> Tensor:
    logits = logits.double() if correction is None else logits.double() + correction.double()
    logits = logits if valid is None else logits.masked_fill(~valid, -math.inf)
    return F.cross_entropy(logits, target, reduction="none")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [None, (COLUMNS,), (ROWS, COLUMNS)])
@pytest.mark.parametrize("transposed", [False, True])
def test_equals_torch_in_float64(
    shape: tuple[int, ...] | None, masked: bool, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 5 * COLUMNS)  # 37 rows are not a multiple of 5
    logits, target, valid = problem()
    correction = None if shape is None else torch.linspace(-2, 2, math.prod(shape)).view(shape)
    weight = torch.linspace(-1, 3, ROWS)
    mask = valid if masked else None
    given, whole = logits.clone().requires_grad_(), logits.double().requires_grad_()
    laid = given.T.contiguous().T if transposed else given
    found, expected = cross_entropy(laid, target, correction, mask), reference(whole, target, correction, mask)
    (found * weight).sum().backward()
    (expected * weight.double()).sum().backward()
    assert given.grad is not None
    assert whole.grad is not None
    # a logit below 32 is rounded by at most 2e-6, and so is a probability times a weight of 3
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=4e-6)
    torch.testing.assert_close(given.grad.double(), whole.grad, rtol=0, atol=6e-6)


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target, valid = problem()
    results = []
    for block in (1, 4 * COLUMNS, 1 << 20):
        monkeypatch.setattr(module, "_BLOCK", block)
        given = logits.clone().requires_grad_()
        value = cross_entropy(given, target, valid=valid)
        (gradient,) = torch.autograd.grad(value.sum(), given)
        results.append(torch.cat([value.detach()[:, None], gradient], 1))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_a_target_alone_has_neither_loss_nor_gradient() -> None:
    logits, target, valid = problem()
    given = logits.requires_grad_()
    value = cross_entropy(given, target, valid=valid)
    value.sum().backward()
    assert given.grad is not None
    assert value[-1] == 0
    assert (given.grad[-1] == 0).all()
    assert (given.grad[~valid] == 0).all()


def test_far_logits_stay_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e4, 3e4, 0.0]], requires_grad=True)
    value = cross_entropy(logits, torch.tensor([1, 1]))
    value.sum().backward()
    assert value.tolist() == [2e4, 0.0]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_second_backward_pass_finds_the_same_gradient() -> None:
    logits, target, valid = problem()
    given = logits.requires_grad_()
    total = (cross_entropy(given, target, valid=valid) * torch.linspace(0, 1, ROWS)).sum()
    first, second = (torch.autograd.grad(total, given, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_half_precision_is_computed_in_float32() -> None:
    logits, target, _ = problem()
    half = logits.bfloat16()
    assert torch.equal(cross_entropy(half, target), cross_entropy(half.float(), target))


def test_no_rows() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    value = cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    value.sum().backward()
    assert value.shape == (0,)
    assert logits.grad is not None
    assert logits.grad.shape == (0, 3)
