"""The loss that lets all valid columns compete for a query at once."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError

Repeats = Literal["ignore", "count", "count_log_q", "inclusion", "refined"]


class SampledSoftmax(Loss):
    r"""Cross-entropy of the target against the columns of the batch.

    .. math:: -\log \frac{\exp(s_t + c_t)}{\sum_{j\ \text{valid}} \exp(s_j + c_j)}

    with logits :math:`s` and a correction :math:`c` of each column, itself no function of the parameters. A column
    stands for a *distinct* candidate; ``repeats`` says what is made of how often a batch proposes it:

    - ``"ignore"``: c = 0. A softmax over the distinct columns as they are.
    - ``"count"``: c = log(count). The gradients are those of the usual in-batch softmax, which has one column for each
      row and keeps repeated ones (TensorFlow Recommenders' ``Retrieval`` task, sentence-transformers'
      ``MultipleNegativesRankingLoss``). The value is lower by log(count) of the target, a constant: the row's copies
      of its target count as hits. A column that was only drawn stands in the batch once, so its count is 1.
    - ``"count_log_q"``: c = log(count) − log_q, the sampling-bias correction of Yi et al. (2019): each repetition
      weighs 1 / expected repetitions, so that popular candidates are no longer pushed down for being popular.
    - ``"inclusion"``: c = −log(1 − exp(−exp(log_q))): minus the log-probability that the batch holds the candidate
      at all, its proposals being Poisson with mean exp(log_q). This is the correction that fits distinct columns; it
      tends to −log_q for a rare candidate and to 0 for one that every batch holds.

    - ``"refined"``: the target is no sample, it is always there, and so is taken out of the sampled sum (see below).

    The two corrections before the last make the batch stand for the corpus, and apply to the target as to every other
    column: given which columns a batch has, the chance that j is the target is P(j | query) / P(j is drawn), up to a
    constant (Jean et al. 2015). They suppose columns that are shared by the rows.

    ``"refined"`` estimates the gradient of the softmax over the corpus instead (Khrylchenko et al. 2025). That gradient
    is the target's share of error, 1 − P, times the pull of the target against the softmax over all *others*:

    .. math:: \mathrm{sg}(1 - \hat P) \, (\log \hat Z - s_t), \qquad
        \hat Z = \sum_{j\ \text{valid},\, j \ne t} \frac{\exp(s_j)}{\pi_j}, \qquad
        \hat P = \frac{\exp(s_t)}{\exp(s_t) + \hat Z}

    where sg stops the gradient and π = 1 − exp(−exp(log_q)) is the probability that the batch holds j. The paper adds
    up its n draws other than t, each divided by n Q(j) / (1 − Q(t)), for draws from one distribution Q. That divisor is
    the expected number of draws of j, which π becomes for distinct columns: :math:`\hat Z` is an unbiased sum over the
    candidates that may count, whatever mixture of samplers proposed the columns, shared or a row's own. Weighting makes
    sure rows count less, and the value is no likelihood: it falls below 0 where the target has outgrown all others.

    A column with log_q = −∞ was never drawn at random (a negative that the data names): it is there with certainty and
    is not corrected. The γ of the DSSM paper (Huang et al. 2013, its loss is this one with ``"ignore"``) is the
    scorer's ``logit_scale``.

    Args:
        repeats: what is made of repeated candidates, see above.
        symmetric: also classify the query of each row's candidate among the queries of the batch, and take the mean
            of both (CLIP, arXiv 2103.00020). ``TwoTower`` reads this and calls the loss a second time, on the
            transposed problem.

    Also called: InfoNCE, NT-Xent, batch softmax, multiple negatives ranking.

    Sources: Huang et al., CIKM 2013 (DSSM); Jean et al., arXiv 1412.2007 (a sample stands for the vocabulary); Yi et
    al., RecSys 2019, doi 10.1145/3298689.3346996 (in-batch correction); Khrylchenko et al., RecSys 2025, arXiv
    2507.09331 (refined).

    Raises:
        ValueError: ``repeats`` is none of the five.
    """

    def __init__(self, repeats: Repeats = "ignore", symmetric: bool = False) -> None:
        super().__init__()
        if repeats not in get_args(Repeats):
            raise UserError(f"SampledSoftmax: repeats is {repeats!r}; possible: {', '.join(get_args(Repeats))}")
        self.repeats = repeats
        self.symmetric = symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) cross-entropy, or its refined estimate; 0 for a query whose target is its only valid column."""
        logits = scores.logits
        if self.repeats != "ignore":
            logits = logits + self._correction(scores)
        if self.repeats == "refined":
            return _refined(logits, scores)
        if not scores.all_valid:
            logits = logits.masked_fill(~scores.valid, -math.inf)
        return F.cross_entropy(logits, scores.target, reduction="none")

    def _correction(self, scores: Scores) -> Tensor:
        """(C,) or (Q, C) what is added to each column's logits."""
        log_count = scores.count.clamp(min=1).log()
        if self.repeats == "count":
            return log_count
        log_q = scores.log_q.clamp(min=-80.0)  # its exponential stays above float32's smallest number
        # expm1 keeps the digits of candidates that are rarely proposed, where 1 − exp(−x) has none
        correction = log_count - log_q if self.repeats == "count_log_q" else -(-torch.expm1(-log_q.exp())).log()
        return correction.masked_fill(scores.log_q == -math.inf, 0.0)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"repeats={self.repeats!r}, symmetric={self.symmetric}"


def _refined(corrected: Tensor, scores: Scores) -> Tensor:
    """(Q,) sg(1 − P) (log Z − s_t), from logits (Q, C) that are corrected; the target's own is not."""
    negative = scores.is_negative
    alone = ~negative.any(1)
    others = corrected.masked_fill(~negative & ~alone[:, None], -math.inf)  # a row of −∞ alone has no gradient
    behind = others.logsumexp(1) - scores.positive.squeeze(1)  # (Q,) log Z − s_t: the log-odds of not being t
    return (behind.detach().sigmoid() * behind).masked_fill(alone, 0.0)
