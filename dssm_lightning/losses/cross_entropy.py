"""Cross-entropy of corrected and masked logits, in one pass over the matrix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = 1 << 17
"""Numbers of a block of rows on the CPU: what is computed in between stays in the cache of a core."""


def cross_entropy(
    logits: Tensor, target: Tensor, correction: Tensor | None = None, valid: Tensor | None = None
) -> Tensor:
    """(Q,) cross-entropy of each row's target against its valid columns.

    It is ``F.cross_entropy`` of ``logits + correction`` with −∞ where a column is not valid, up to the rounding of
    float32. That would make a corrected, a masked and a normalised copy of the matrix, and as many of its gradient.
    Here the gradient, softmax minus one at the target, is written in the forward pass, block by block, and the backward
    pass scales its rows.

    Args:
        logits: (Q, C).
        target: (Q,) int64 column of each row's own candidate.
        correction: (C,) or (Q, C) without gradient, added to the logits; None = 0.
        valid: (Q, C) bool, True at the target; None = all columns are valid.

    Example:
        >>> logits, valid = torch.tensor([[1.0, 3.0, 6.0]]).log(), torch.tensor([[True, True, False]])
        >>> cross_entropy(logits, torch.tensor([1]), valid=valid)  # −log(3 / (1 + 3))
        tensor([0.2877])
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    value: Tensor = _CrossEntropy.apply(logits.contiguous(), target, correction, valid)
    return value


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, correction: Tensor | None, valid: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, target, correction, valid)
        value, ctx.gradient = _with_gradient(logits, target, correction, valid)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found, ctx.gradient = ctx.gradient, None  # its memory is used up; a second backward pass computes it again
        found = _with_gradient(*ctx.saved_tensors)[1] if found is None else found
        return found.mul_(gradient[:, None]), None, None, None


def _with_gradient(
    logits: Tensor, target: Tensor, correction: Tensor | None, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(Q,) the values, and (Q, C) the gradient of their sum."""
    gradient, own, excluded = torch.empty_like(logits), target[:, None], logits.new_tensor(-math.inf)
    rows = max(1, _BLOCK // max(1, logits.shape[1])) if logits.device.type == "cpu" else max(1, len(logits))
    space, values = torch.empty_like(logits[:rows]), []
    for start in range(0, len(logits), rows):
        block = slice(start, start + rows)
        part, softmax = logits[block], gradient[block]
        room = space[: len(part)]
        if correction is not None:
            part = torch.add(part, correction if correction.dim() == 1 else correction[block], out=room)
        if valid is not None:
            part = torch.where(valid[block], part, excluded, out=room)
        torch.softmax(part, 1, out=softmax)
        # the greatest logit m has softmax 1 / Σ exp(s − m), whose logarithm is exact where Σ is near 1
        values.append(part.amax(1) - part.gather(1, own[block]).squeeze(1) - softmax.amax(1).log())
        softmax.scatter_add_(1, own[block], softmax.new_full((1, 1), -1.0).expand(len(part), 1))
    return torch.cat(values) if values else logits.new_zeros(0), gradient
