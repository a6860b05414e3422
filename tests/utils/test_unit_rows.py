"""Rows of length 1 are those of ``F.normalize`` to the bit, with their gradients; only zeros have another gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dssm_lightning.utils.unit_rows import unit_rows


def test_rows_and_gradients_are_those_of_normalize() -> None:
    torch.manual_seed(0)
    vectors = (torch.randn(50, 3, 17) * torch.logspace(-6, 6, 50)[:, None, None]).requires_grad_()
    weights = torch.randn_like(vectors)
    found, expected = unit_rows(vectors), F.normalize(vectors, dim=-1)
    gradients = [torch.autograd.grad((each * weights).sum(), vectors)[0] for each in (found, expected)]
    assert torch.equal(found, expected)
    assert torch.equal(*gradients)


def test_zeros_stay_zeros_and_pass_the_gradient_on() -> None:
    vectors = torch.zeros(2, 3, requires_grad=True)
    found = unit_rows(vectors)
    (found * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    assert found.tolist() == [[0.0] * 3] * 2
    assert vectors.grad is not None
    assert vectors.grad.tolist() == [[1.0, -2.0, 0.5]] * 2
