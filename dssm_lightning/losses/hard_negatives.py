"""Losses that spend a query's gradient on the negatives which are ranked too high."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError

RankWeight = Literal["harmonic", "log"]

_EULER_GAMMA = 0.5772156649015329


class WARP(Loss):
    r"""A margin to one violating negative, weighted by how low the target is estimated to rank.

    A query's n valid negatives are drawn in random order, without replacement, until one *violates* the margin:
    :math:`s_j > s_t - \mathrm{margin}`. Say this is the k-th draw: the fewer it took, the more of them must stand above
    the target. Its place is estimated as :math:`r = \lfloor n / k \rfloor`, and the query's value is

    .. math:: \Phi(r) \, (\mathrm{margin} + s_j - s_t), \qquad
        \Phi(r) = \sum_{i=1}^{r} \frac1i \ \text{(harmonic)} \quad \text{or} \quad \log(1 + r) \ \text{(log)}

    and 0 where no negative violates, or none within ``max_trials`` draws. Φ is no function of the parameters. It grows
    fast for the first ranks and slowly after: the top of the ranking is what is learnt (WSABIE optimises precision at
    k with it, in place of the mean rank that ``TripletMargin`` and ``BPR`` see).

    The rank is among the *scored* negatives: with C of N candidates in a batch the rank in the corpus is about N / C
    times as large, which adds about log(N / C) to Φ. The order is drawn from torch's generator, which ``TwoTower``
    seeds for each batch.

    Args:
        margin: in units of the logits, as for ``TripletMargin``.
        max_trials: give up after so many draws; None = after all.
        weight: Φ; harmonic is the paper's.

    Source: Weston, Bengio & Usunier, IJCAI 2011 (WSABIE), there with replacement. Also in LightFM, whose weight is
    log(n / k).

    Raises:
        ValueError: the margin is not positive, ``max_trials`` is below 1, or the weight is unknown.
    """

    def __init__(self, margin: float = 1.0, max_trials: int | None = None, weight: RankWeight = "harmonic") -> None:
        super().__init__()
        _check_margin("WARP", margin)
        if max_trials is not None and max_trials < 1:
            raise UserError(f"WARP: max_trials is {max_trials}; it must be at least 1")
        if weight not in get_args(RankWeight):
            raise UserError(f"WARP: weight is {weight!r}; possible: {', '.join(get_args(RankWeight))}")
        self.margin, self.max_trials, self.weight = margin, max_trials, weight

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted violation; 0 for a query none of whose negatives violates, or that has none."""
        column, trials = self._first_violator(scores)  # (Q, 1), (Q,)
        found = trials > 0
        rank = scores.is_negative.sum(1) // trials.clamp(min=1)  # (Q,)
        violation = F.relu(self.margin + scores.logits.gather(1, column) - scores.positive).squeeze(1)
        return (self._phi(rank) * violation).masked_fill(~found, 0.0)

    def _first_violator(self, scores: Scores) -> tuple[Tensor, Tensor]:
        """(Q, 1) its column, any where there is none, and (Q,) at which draw it came, 0 for none."""
        negative = scores.is_negative
        logits = scores.logits.detach()
        violates = negative & (self.margin + logits - scores.positive.detach() > 0)
        order = torch.rand(logits.shape, device=logits.device)  # the negatives are drawn in ascending order of this
        first, column = order.masked_fill(~violates, math.inf).min(1, keepdim=True)  # (Q, 1) each
        trials = (negative & (order <= first)).sum(1)
        given_up = ~violates.any(1)
        if self.max_trials is not None:
            given_up |= trials > self.max_trials
        return column, trials.masked_fill(given_up, 0)

    def _phi(self, rank: Tensor) -> Tensor:
        places = rank.float()
        if self.weight == "log":
            return places.log1p()
        return torch.digamma(places + 1) + _EULER_GAMMA  # the harmonic numbers

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"margin={self.margin}, max_trials={self.max_trials}, weight={self.weight!r}"


class HardestNegative(Loss):
    r"""The target against the ``num_negatives`` valid negatives with the highest logits, or all where there are fewer.

    Without a margin it is the cross-entropy of the target among them, :math:`-\log \frac{\exp(s_t)}{\exp(s_t) +
    \sum_{j\ \text{hardest}} \exp(s_j)}`: ``SampledSoftmax`` without its easy columns. With one it is the mean of
    max(0, margin + s_j − s_t), and ``TripletMargin(negatives="hardest")`` for a single negative.

    The hardest of a batch are often candidates that the query likes and nobody has said so: mask what is known
    (``mask_known``), take more than one, and start from a trained model where training collapses.

    Args:
        num_negatives: how many count for each query.
        margin: in units of the logits; None = cross-entropy.

    Also called: top-n or hard negative mining within the batch; TensorFlow Recommenders' ``num_hard_negatives``.

    Raises:
        ValueError: ``num_negatives`` below 1, or a margin that is not positive.
    """

    def __init__(self, num_negatives: int, margin: float | None = None) -> None:
        super().__init__()
        if num_negatives < 1:
            raise UserError(f"HardestNegative: num_negatives is {num_negatives}; it must be at least 1")
        if margin is not None:
            _check_margin("HardestNegative", margin)
        self.num_negatives, self.margin = num_negatives, margin

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) cross-entropy or mean violation; 0 for a query without a valid negative."""
        positive = scores.positive  # (Q, 1)
        negatives = scores.logits.masked_fill(~scores.is_negative, -math.inf)
        hardest = negatives.topk(min(self.num_negatives, negatives.shape[1]), dim=1, sorted=False).values  # (Q, n)
        if self.margin is None:
            columns = torch.cat([positive, hardest], dim=1)
            return columns.logsumexp(1) - positive.squeeze(1)
        there = hardest > -math.inf
        violation = F.relu(self.margin + hardest - positive).masked_fill(~there, 0.0)
        return violation.sum(1) / there.sum(1).clamp(min=1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"num_negatives={self.num_negatives}, margin={self.margin}"


def _check_margin(name: str, margin: float) -> None:
    if not 0 < margin < math.inf:
        raise UserError(f"{name}: margin is {margin}; it must be positive (with 0, equal scores cost nothing)")
