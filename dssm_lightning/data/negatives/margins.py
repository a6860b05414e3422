"""Positive-aware margins: how far below a positive's score a candidate must score to be a negative."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.utils.errors import MAX_FLOAT32, UserError, is_number


def require_margins(owner: str, margin: float | None, relative_margin: float | None) -> None:
    """Refuse margins outside their range; None passes.

    Args:
        owner: the class whose settings they are.
        margin: in units of the scores.
        relative_margin: as a fraction of the positive's score.

    Raises:
        UserError: ``margin`` is negative or not finite; ``relative_margin`` is outside [0, 1].
    """
    if margin is not None and not (is_number(margin) and 0 <= margin < MAX_FLOAT32):
        raise UserError(f"{owner}: margin is {margin}; it must be finite and at least 0")
    if relative_margin is not None and not (is_number(relative_margin) and 0 <= relative_margin <= 1):
        raise UserError(f"{owner}: relative_margin is {relative_margin}; it must lie in [0, 1]")


def limit_below(positive: Tensor, margin: float | None, relative_margin: float | None) -> Tensor:
    """Return the greatest score that a negative may have beside each positive's score, in the same shape.

    It is p − max(margin, relative_margin · |p|): both margins hold.

    Source: Moreira et al., arXiv 2407.15831 (TopK-MarginPos and TopK-PercPos).

    Example:
        >>> limit_below(torch.tensor([4.0, 10.0, -10.0]), margin=0.5, relative_margin=0.1).tolist()
        [3.5, 9.0, -11.0]
    """
    return positive - torch.maximum(positive.abs() * (relative_margin or 0.0), positive.new_tensor(margin or 0.0))
