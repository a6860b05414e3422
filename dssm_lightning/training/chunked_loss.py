"""The weighted sum of the row losses, computed chunk by chunk with its gradient: no full (Q, C) matrix in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class RowLosses(NamedTuple):
    """The loss of each row, and their weighted sum."""

    value: Tensor  # (B,), without gradient where it was computed in chunks
    compared: Tensor  # (B,) bool: whether the row has any valid negative
    total: Tensor  # () Σ weight · value, with gradient


class LossesOf(Protocol):
    """Row numbers (Q,), their embeddings (Q, D) and the columns' embeddings (C, D) -> losses (Q,), ``compared`` (Q,).

    Row numbers None stand for all rows.
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
    """Compute the loss of each row and their weighted sum.

    In chunks, the gradient of the sum is computed as soon as a chunk has been scored, and the backward pass only scales
    it. This is possible because the weights are known in advance. Nothing is computed twice, no random number is drawn
    twice, and a chunk that fits into the cache is never written to memory: on a CPU this takes about two thirds of the
    time of the full matrix.

    Args:
        losses_of: computes the losses of some rows.
        by_row: (B, D) embedding of each row.
        shared: (C, D) embeddings that every row is scored against.
        weight: (B,) without gradient.
        parameters: the other trained parameters that the losses depend on.
        chunk_size: number of rows at once; None = all rows.

    Source: the idea is Liger Kernel's (arXiv 2410.10989, fused linear cross-entropy), here for any loss and scorer.

    Example:
        >>> def row_losses(rows, query, candidate):
        ...     return (query @ candidate.T).logsumexp(1), torch.ones(len(query), dtype=torch.bool)
        >>> query, candidate = torch.zeros(4, 8), torch.ones(3, 8)
        >>> losses = weighted(row_losses, query, candidate, torch.full((4,), 0.25), [], chunk_size=2)
        >>> losses.value.tolist() == [torch.tensor(3.0).log().item()] * 4
        True
    """
    if chunk_size is None or len(by_row) <= chunk_size:
        value, compared = losses_of(None, by_row, shared)
        return RowLosses(value, compared, (value * weight).sum())
    if not torch.is_grad_enabled():
        by_row, shared, parameters = by_row.detach(), shared.detach(), ()
    value, compared, total = _Chunked.apply(losses_of, weight, chunk_size, by_row, shared, *parameters)
    return RowLosses(value, compared, total)


class _Chunked(torch.autograd.Function):
    """Compute the sum together with its gradient; the backward pass scales the gradient."""

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
        """Return losses (B,), ``compared`` (B,) and the weighted sum ()."""
        leaf = shared.detach().requires_grad_(shared.requires_grad)
        row_gradient, *shared_gradients = (torch.zeros_like(each) for each in (by_row, shared, *parameters))
        parts = []
        for rows in torch.split(torch.arange(len(by_row), device=by_row.device), chunk_size):
            own = by_row[rows].requires_grad_(by_row.requires_grad)
            with torch.set_grad_enabled(any(ctx.needs_input_grad)):
                value, compared = losses_of(rows, own, leaf)
                total = (value * weight[rows]).sum()
            parts.append((value.detach(), compared, total.detach()[None]))
            own_gradient, *gradients = _gradients(total, [own, leaf, *parameters])
            if own_gradient is not None:
                row_gradient[rows] = own_gradient
            for total_gradient, gradient in zip(shared_gradients, gradients, strict=True):
                if gradient is not None:
                    total_gradient += gradient
        ctx.save_for_backward(row_gradient, *shared_gradients)
        values, compared, totals = map(torch.cat, zip(*parts, strict=True))
        ctx.mark_non_differentiable(values, compared)
        return values, compared, totals.sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the sum, scaled by the gradient with respect to the sum."""
        scale = grad_outputs[-1]
        found = zip(ctx.saved_tensors, ctx.needs_input_grad[3:], strict=True)
        return None, None, None, *(gradient * scale if needed else None for gradient, needed in found)


def _gradients(total: Tensor, inputs: list[Tensor]) -> Iterator[Tensor | None]:
    """Return the gradient with respect to each input; None for an input that needs none or is not used."""
    trained = [each for each in inputs if each.requires_grad]
    found = iter(torch.autograd.grad(total, trained, allow_unused=True) if total.requires_grad else ())
    return (next(found, None) if each.requires_grad else None for each in inputs)
