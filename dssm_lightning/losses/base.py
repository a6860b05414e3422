"""What every loss sees, and what it returns."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Scores(NamedTuple):
    """The scored batch; all that a loss ever sees.

    Usually all queries share the C columns. Where rows have negatives of their own, a query's C columns are its target
    and those negatives alone, and ``count`` and ``log_q`` are (Q, C).
    """

    logits: Tensor  # (Q, C) float32
    target: Tensor  # (Q,) int64: the column of each query's own candidate
    valid: Tensor  # (Q, C) bool: may this column count for this query; True at the target
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count
    # (C,) or (Q, C) float32: rows of the (global) batch that own this column, 0 for one that was only drawn
    log_q: Tensor  # (C,) or (Q, C) float32: log of the expected number of times a batch proposes this column
    label: Tensor | None  # (Q,) float32: 1 liked / 0 shown and not liked; None = all liked

    @property
    def all_valid(self) -> bool:
        """Whether ``valid`` is one value, expanded: nothing is masked, which then needs no pass over (Q, C)."""
        return self.valid.stride() == (0, 0)

    @property
    def positive(self) -> Tensor:
        """(Q, 1) logit of each query's own candidate."""
        return self.logits.gather(1, self.target[:, None])

    @property
    def is_negative(self) -> Tensor:
        """(Q, C) bool: the valid columns without the target."""
        return self.valid.scatter(1, self.target[:, None], False)

    @property
    def has_negative(self) -> Tensor:
        """(Q,) bool: whether any column but the target is valid."""
        if self.all_valid:
            return torch.full_like(self.target, self.valid.shape[1] > 1, dtype=torch.bool)
        return self.valid.sum(1, dtype=torch.int32) > 1  # a third of the time of is_negative.any(1)


class Loss(nn.Module):
    """``Scores`` -> (Q,): one value for each query. Weighting and the mean happen once, in ``TwoTower``."""

    uses_labels: ClassVar[bool] = False
    """Whether rows with label 0 mean something to this loss; where not, ``TwoTower`` leaves them out."""
    compares: ClassVar[bool] = True
    """Whether a row without a valid negative says nothing: ``TwoTower`` then gives it no weight, and counts it. A loss
    that judges each pair by itself learns from the positive alone, and keeps such rows."""
    symmetric: bool = False
    """Whether to add the same loss on the transposed problem: each row's candidate against all queries."""

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) one value for each query; 0 for a query without a valid negative, where the loss compares."""
        raise NotImplementedError
