"""The scored batch that a loss sees, made of what a test names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dssm_lightning.losses import Scores


def make_scores(
    logits: Tensor,
    target: Tensor | list[int] | None = None,
    *,
    valid: Tensor | None = None,
    count: Tensor | None = None,
    log_q: Tensor | None = None,
    label: Tensor | Sequence[float] | None = None,
) -> Scores:
    """Scores (Q, C): targets on the diagonal, everything valid, each column owned once and expected once."""
    Q, C = logits.shape
    return Scores(
        logits,
        torch.arange(Q) if target is None else torch.as_tensor(target),
        torch.ones_like(logits, dtype=torch.bool) if valid is None else valid,
        torch.ones(C) if count is None else count,
        torch.zeros(C) if log_q is None else log_q,
        None if label is None else torch.as_tensor(label, dtype=torch.float32),
    )
