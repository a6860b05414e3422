"""A sum over the rows of a batch, taken chunk by chunk together with its gradient: no (Q, C) matrix is ever whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class RowLosses(NamedTuple):
    """What a loss makes of each row, and of all of them."""

    value: Tensor  # (B,), without gradient where it was computed in chunks
    compared: Tensor  # (B,) bool: whether the row has any valid negative
    total: Tensor  # () Σ weight · value, with gradient


class LossesOf(Protocol):
    """(rows, (Q, D) their embeddings, (C, D) what they are scored against) -> values (Q,) and ``compared`` (Q,).

    Rows are numbers (Q,), or None for all.
    """

    def __call__(self, rows: Tensor | None, by_row: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]: ...


def weighted(
    losses_of: LossesOf,
    by_row: Tensor,
    shared: Tensor,
    weight: Tensor,
    parameters: Sequence[Tensor],
    chunk_size: int | None,
) -> RowLosses:
    """Each row's loss and their weighted sum.

    In chunks, the gradient of the sum is computed as soon as a chunk has been scored, and only its scale is left for
    the backward pass. That is possible because the weights are known before. Nothing is computed twice, no random
    number is drawn twice, and a chunk that fits the cache never goes to memory and back: on a CPU this takes about two
    thirds of the time of the whole matrix.

    Args:
        losses_of: computes the rows' losses.
        by_row: (B, D) what each row brings.
        shared: (C, D) what all of them meet.
        weight: (B,) without gradient.
        parameters: what else the losses depend on and is learnt.
        chunk_size: so many rows at once; None = all.

    Source: the idea is Liger Kernel's (arXiv 2410.10989, fused linear cross-entropy), here for any loss and scorer.
    """
    if chunk_size is None or len(by_row) <= chunk_size:
        value, compared = losses_of(None, by_row, shared)
        return RowLosses(value, compared, (value * weight).sum())
    if not torch.is_grad_enabled():
        by_row, shared, parameters = by_row.detach(), shared.detach(), ()
    value, compared, total = _Chunked.apply(losses_of, weight, chunk_size, by_row, shared, *parameters)
    return RowLosses(value, compared, total)


class _Chunked(torch.autograd.Function):
    """The sum, and with it its gradient, which the backward pass scales."""

    @staticmethod
    def forward(
        ctx: Any,
        losses_of: LossesOf,
        weight: Tensor,
        chunk_size: int,
        by_row: Tensor,
        shared: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) values, (B,) compared, () their weighted sum."""
        leaf = shared.detach().requires_grad_(shared.requires_grad)
        of_rows, *of_all = (torch.zeros_like(each) for each in (by_row, shared, *parameters))
        parts = []
        for rows in torch.split(torch.arange(len(by_row), device=by_row.device), chunk_size):
            own = by_row[rows].requires_grad_(by_row.requires_grad)
            with torch.set_grad_enabled(any(ctx.needs_input_grad)):
                value, compared = losses_of(rows, own, leaf)
                total = (value * weight[rows]).sum()
            parts.append((value.detach(), compared, total.detach()[None]))
            of_row, *gradients = _gradients(total, [own, leaf, *parameters])
            if of_row is not None:
                of_rows[rows] = of_row
            for kept, gradient in zip(of_all, gradients, strict=True):
                if gradient is not None:
                    kept += gradient
        ctx.save_for_backward(of_rows, *of_all)
        values, compared, totals = map(torch.cat, zip(*parts, strict=True))
        ctx.mark_non_differentiable(values, compared)
        return values, compared, totals.sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the sum, scaled by how much the sum is worth."""
        scale = grad_outputs[-1]
        found = zip(ctx.saved_tensors, ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *(gradient * scale if needed else None for gradient, needed in found)


def _gradients(total: Tensor, inputs: list[Tensor]) -> Iterator[Tensor | None]:
    """Of each input, None for one that is not learnt or not used."""
    learnt = [each for each in inputs if each.requires_grad]
    found = iter(torch.autograd.grad(total, learnt, allow_unused=True) if total.requires_grad else ())
    return (next(found, None) if each.requires_grad else None for each in inputs)
