"""Losses that compare the target with one negative at a time."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError

Negatives = Literal["all", "hardest", "semi_hard"]


class TripletMargin(Loss):
    """How much each negative comes nearer to the target than the margin allows: max(0, margin + s_negative − s_target).

    ``negatives`` says which of a query's valid negatives count:

    - ``"all"``: the mean over them, those that keep the margin included (each is 0).
    - ``"hardest"``: the one with the highest logit.
    - ``"semi_hard"``: the highest below the target's logit; where every negative is above or level, the lowest
      (FaceNet, arXiv 1503.03832, with the fallback of TensorFlow Addons). ``"hardest"`` can collapse all
      embeddings into one point early in training, this does not.

    Args:
        margin: in units of the logits: of the cosine if the towers normalise and ``logit_scale`` is 1, and
            ``logit_scale`` times that otherwise.
        negatives: which negatives count.

    Also called: max-margin, hinge and pairwise ranking loss. ``BPR`` is its smooth relative without a margin.

    Raises:
        ValueError: the margin is not positive, or ``negatives`` is none of the three.
    """

    def __init__(self, margin: float = 0.2, negatives: Negatives = "all") -> None:
        super().__init__()
        if not 0 < margin < math.inf:
            raise UserError(
                f"TripletMargin: margin is {margin}; it must be positive (with 0, equal scores cost nothing)"
            )
        if negatives not in get_args(Negatives):
            raise UserError(f"TripletMargin: negatives is {negatives!r}; possible: {', '.join(get_args(Negatives))}")
        self.margin = margin
        self.negatives = negatives

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean or chosen violation; 0 for a query without a valid negative."""
        negative = scores.is_negative
        if self.negatives == "all":
            return _masked_mean(F.relu(self.margin + scores.logits - scores.positive), negative)
        column = self._column(scores, negative)
        violation = F.relu(self.margin + scores.logits.gather(1, column) - scores.positive).squeeze(1)
        return violation.masked_fill(~negative.any(1), 0.0)

    def _column(self, scores: Scores, negative: Tensor) -> Tensor:
        """(Q, 1) the negative that counts; any column for a query that has none."""
        logits = scores.logits.detach()
        if self.negatives == "hardest":
            return logits.masked_fill(~negative, -math.inf).argmax(1, keepdim=True)
        below = negative & (logits < scores.positive)
        nearest = logits.masked_fill(~below, -math.inf).argmax(1, keepdim=True)
        lowest = logits.masked_fill(~negative, math.inf).argmin(1, keepdim=True)
        return torch.where(below.any(1, keepdim=True), nearest, lowest)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"margin={self.margin}, negatives={self.negatives!r}"


class BPR(Loss):
    """−log σ(s_target − s_negative), the mean over a query's valid negatives.

    The log-likelihood that the target is preferred to each negative: a smooth ``TripletMargin``, and with a single
    negative the same as ``SampledSoftmax``.

    Source: Rendle et al., UAI 2009 (arXiv 1205.2618), whose one drawn negative is
    ``Uniform(num_negatives=1, per_row=True)``. Also called: pairwise logistic loss, RankNet.
    """

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over the negatives; 0 for a query without a valid one."""
        return _masked_mean(F.softplus(scores.logits - scores.positive), scores.is_negative)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(Q,) mean of each row's values (Q, C) where the mask (Q, C) holds; 0 where it never does."""
    return values.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)
