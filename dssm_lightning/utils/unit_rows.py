"""Vectors of length 1, with a gradient that stays small at zeros."""

from __future__ import annotations

from torch import Tensor


def unit_rows(vectors: Tensor) -> Tensor:
    """(…, D) -> (…, D) each of length 1; zeros stay zeros, and their gradient is that of the result.

    ``F.normalize`` divides it by 1e-12 there: one unknown id would outweigh all else in a clipped gradient, and hold
    its own row back for good in what Adam remembers of squares.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.unit_rows import unit_rows
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (length + (length == 0))
