"""Scored batches for the tests of losses."""

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
    """Scores (Q, C). Defaults: targets on the diagonal, all columns valid, each proposed once and expected once."""
    Q, C = logits.shape
    return Scores(
        logits,
        torch.arange(Q) if target is None else torch.as_tensor(target),
        torch.ones_like(logits, dtype=torch.bool) if valid is None else valid,
        torch.ones(C) if count is None else count,
        torch.zeros(C) if log_q is None else log_q,
        None if label is None else torch.as_tensor(label, dtype=torch.float32),
    )


def random_scores() -> Scores:
    """Eight queries, twelve candidates, a third of the columns invalid; the last query's only column is its target."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 12, generator=generator)
    valid = torch.rand(8, 12, generator=generator) < 0.67
    valid[7] = False
    return make_scores(logits, valid=valid.scatter(1, torch.arange(8)[:, None], True))


def negative_columns(scores: Scores, q: int) -> list[int]:
    """The columns of a query's valid negatives."""
    return [c for c in range(scores.logits.shape[1]) if scores.valid[q, c] and c != scores.target[q]]
