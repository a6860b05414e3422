"""Losses with a gradient for high-ranked negatives only."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import require_choice, require_positive, require_whole

RankWeight = Literal["harmonic", "log"]

_EULER_GAMMA = 0.5772156649015329
_MARGIN_HINT = "with 0, equal scores cost nothing"


class WARP(Loss):
    r"""Weighted approximate-rank pairwise loss: one negative's violation of a margin, times a weight of the rank.

    A query's n valid negatives are drawn in random order, without replacement, until a negative *violates* the margin:
    :math:`s_j > s_t - \mathrm{margin}`. Let this be the k-th draw. A small k means that many negatives violate the
    margin, so the target's rank is estimated as :math:`r = \lfloor n / k \rfloor`. The query's value is

    .. math:: \Phi(r) \, (\mathrm{margin} + s_j - s_t), \qquad
        \Phi(r) = \sum_{i=1}^{r} \frac1i \ \text{(harmonic)} \quad \text{or} \quad \log(1 + r) \ \text{(log)}

    and 0 if no negative violates the margin within ``max_trials`` draws. Φ has no gradient. Φ grows fast for the first
    ranks and slowly for later ranks, so that training improves the top of the ranking (WSABIE optimises precision at k
    with this weight, while ``TripletMargin`` and ``BPR`` optimise the mean rank).

    The rank counts *scored* negatives only. If a batch holds C of N candidates, the rank in the corpus is about N / C
    times as large, which adds about log(N / C) to Φ. The order is drawn from torch's generator, which ``TwoTower``
    seeds for each batch.

    Args:
        margin: in units of the logits, as for ``TripletMargin``.
        max_trials: the largest number of draws for a query; None = until no negative is left.
        weight: the formula of Φ, ``"harmonic"`` (as in the paper) or ``"log"``.

    Source: Weston, Bengio & Usunier, IJCAI 2011 (WSABIE), which draws with replacement. LightFM's WARP has the weight
    log(n / k).

    Raises:
        UserError: the margin is not positive, ``max_trials`` is below 1, or the weight is unknown.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import WARP, Scores
        >>> logits, valid = torch.tensor([[0.0, 0.5, 0.5]]), torch.ones(1, 3, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, count=torch.ones(3), log_q=torch.zeros(3), label=None)
        >>> WARP(margin=1.0)(scores)  # the first draw violates by 1.5, so the rank is 2: (1 + 1/2) · 1.5
        tensor([2.2500])
    """

    def __init__(self, margin: float = 1.0, max_trials: int | None = None, weight: RankWeight = "harmonic") -> None:
        super().__init__()
        require_positive("WARP", "margin", margin, hint=_MARGIN_HINT)
        require_whole("WARP", "max_trials", max_trials)
        require_choice("WARP", "weight", weight, get_args(RankWeight))
        self.margin, self.max_trials, self.weight = margin, max_trials, weight

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted violation; 0 for a query without a violating negative."""
        column, trials = self._first_violator(scores)  # (Q, 1), (Q,)
        found = trials > 0
        rank = scores.is_negative.sum(1) // trials.clamp(min=1)  # (Q,)
        violation = F.relu(self.margin + scores.logits.gather(1, column) - scores.positive).squeeze(1)
        return (self._phi(rank) * violation).masked_fill(~found, 0.0)

    def _first_violator(self, scores: Scores) -> tuple[Tensor, Tensor]:
        """(Q, 1) column of the first violating negative, and (Q,) number of its draw; 0 = no violation, any column."""
        negative = scores.is_negative
        logits = scores.logits.detach()
        violates = negative & (self.margin + logits - scores.positive.detach() > 0)
        order = torch.rand(logits.shape, device=logits.device)  # the lowest number is drawn first
        first, column = order.masked_fill(~violates, math.inf).min(1, keepdim=True)  # (Q, 1) each
        trials = (negative & (order <= first)).sum(1)
        not_found = ~violates.any(1)
        if self.max_trials is not None:
            not_found |= trials > min(self.max_trials, logits.shape[1])
        return column, trials.masked_fill(not_found, 0)

    def _phi(self, rank: Tensor) -> Tensor:
        places = rank.float()
        if self.weight == "log":
            return places.log1p()
        return torch.digamma(places + 1) + _EULER_GAMMA  # the harmonic numbers

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"margin={self.margin}, max_trials={self.max_trials}, weight={self.weight!r}"


class HardestNegative(Loss):
    r"""Compare the target with the ``num_negatives`` valid negatives that have the highest logits.

    Without a margin the value is the cross-entropy of the target among these negatives,
    :math:`-\log \frac{\exp(s_t)}{\exp(s_t) + \sum_{j\ \text{hardest}} \exp(s_j)}`: ``SampledSoftmax`` without the easy
    columns. With a margin the value is the mean of max(0, margin + s_j − s_t), which equals
    ``TripletMargin(negatives="hardest")`` for a single negative. A query with fewer valid negatives uses all of them.

    The hardest negatives of a batch are often positives that the data does not have. Mask known positives
    (``mask_known``), use more than one negative, and if training collapses, start from a trained model.

    Args:
        num_negatives: number of negatives that count for each query.
        margin: in units of the logits; None = cross-entropy.

    Also called: top-n or hard negative mining within the batch; TensorFlow Recommenders' ``num_hard_negatives``.

    Raises:
        UserError: ``num_negatives`` is below 1, or the margin is not positive.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import HardestNegative, Scores
        >>> logits, valid = torch.tensor([[1.0, 1.5, 0.2, -9.0]]), torch.ones(1, 4, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, count=torch.ones(4), log_q=torch.zeros(4), label=None)
        >>> HardestNegative(2, margin=1.0)(scores)  # the mean of 1.5 and 0.2
        tensor([0.8500])
    """

    def __init__(self, num_negatives: int, margin: float | None = None) -> None:
        super().__init__()
        require_whole("HardestNegative", "num_negatives", num_negatives)
        require_positive("HardestNegative", "margin", margin, hint=_MARGIN_HINT)
        self.num_negatives, self.margin = num_negatives, margin

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) cross-entropy or mean violation; 0 for a query without a valid negative."""
        positive = scores.positive  # (Q, 1)
        negatives = scores.logits.masked_fill(~scores.is_negative, -math.inf)
        hardest = negatives.topk(min(self.num_negatives, negatives.shape[1]), dim=1, sorted=False).values  # (Q, n)
        if self.margin is None:
            columns = torch.cat([positive, hardest], dim=1)
            return columns.logsumexp(1) - positive.squeeze(1)
        valid = hardest > -math.inf  # False: the query has fewer negatives
        violation = F.relu(self.margin + hardest - positive).masked_fill(~valid, 0.0)
        return violation.sum(1) / valid.sum(1).clamp(min=1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"num_negatives={self.num_negatives}, margin={self.margin}"
