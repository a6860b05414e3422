"""Pairwise losses: each compares the target with one negative at a time."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import require_choice, require_positive

Negatives = Literal["all", "hardest", "semi_hard"]


class TripletMargin(Loss):
    """Violation of a margin between target and negatives: max(0, margin + s_negative − s_target).

    ``negatives`` selects the valid negatives of a query that count:

    - ``"all"``: all of them. The value is the mean, in which a negative that keeps the margin counts as 0.
    - ``"hardest"``: the negative with the highest logit.
    - ``"semi_hard"``: the negative with the highest logit below the target's logit. If no negative is below the
      target, the negative with the lowest logit (FaceNet, arXiv 1503.03832, with the fallback of TensorFlow Addons).
      ``"hardest"`` can collapse all embeddings into one point early in training, ``"semi_hard"`` does not.

    Args:
        margin: in units of the logits. If the towers normalise, the logits are cosines times ``logit_scale``.
        negatives: ``"all"``, ``"hardest"`` or ``"semi_hard"``, see above.

    Also called: max-margin, hinge and pairwise ranking loss. ``BPR`` is the smooth version without a margin.

    Raises:
        UserError: the margin is not positive, or ``negatives`` is none of the three.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Scores, TripletMargin
        >>> logits, valid = torch.tensor([[0.5, 0.1, 0.4, 0.9]]), torch.ones(1, 4, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, count=torch.ones(4), log_q=torch.zeros(4), label=None)
        >>> TripletMargin(0.2)(scores), TripletMargin(0.2, "hardest")(scores)  # violations 0, 0.1 and 0.6
        (tensor([0.2333]), tensor([0.6000]))
    """

    def __init__(self, margin: float = 0.2, negatives: Negatives = "all") -> None:
        super().__init__()
        require_positive("TripletMargin", "margin", margin, hint="with 0, equal scores cost nothing")
        require_choice("TripletMargin", "negatives", negatives, get_args(Negatives))
        self.margin = margin
        self.negatives = negatives

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) the mean violation, or the selected negative's violation; 0 for a query without a valid negative."""
        negative = scores.is_negative
        if self.negatives == "all":
            return _masked_mean(F.relu(self.margin + scores.logits - scores.positive), negative)
        column = self._column(scores, negative)
        violation = F.relu(self.margin + scores.logits.gather(1, column) - scores.positive).squeeze(1)
        return violation.masked_fill(~negative.any(1), 0.0)

    def _column(self, scores: Scores, negative: Tensor) -> Tensor:
        """(Q, 1) the column of the selected negative; any column if the query has no valid negative."""
        logits = scores.logits.detach()
        if self.negatives == "hardest":
            return logits.masked_fill(~negative, -math.inf).argmax(1, keepdim=True)
        below = negative & (logits < scores.positive)
        highest_below = logits.masked_fill(~below, -math.inf).argmax(1, keepdim=True)
        lowest = logits.masked_fill(~negative, math.inf).argmin(1, keepdim=True)
        return torch.where(below.any(1, keepdim=True), highest_below, lowest)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"margin={self.margin}, negatives={self.negatives!r}"


class BPR(Loss):
    """Bayesian personalised ranking: the mean of −log σ(s_target − s_negative) over a query's valid negatives.

    The value is the negative log-likelihood that the query prefers the target to each negative. The loss is a smooth
    ``TripletMargin``; with a single negative it equals ``SampledSoftmax``.

    Source: Rendle et al., UAI 2009 (arXiv 1205.2618). Its single sampled negative is
    ``Uniform(num_negatives=1, per_row=True)``. Also called: pairwise logistic loss, RankNet.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import BPR, Scores
        >>> logits, valid = torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[True, True, False]])
        >>> BPR()(Scores(logits, torch.tensor([0]), valid, torch.ones(3), torch.zeros(3), None))  # log 2
        tensor([0.6931])
    """

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over the valid negatives; 0 for a query without a valid negative."""
        return _masked_mean(F.softplus(scores.logits - scores.positive), scores.is_negative)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(Q,) mean of each row's values (Q, C) where the mask (Q, C) is True; 0 for a row without True."""
    return values.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)
