"""The loss that lets all valid columns compete for a query at once."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores

Repeats = Literal["ignore", "count", "count_log_q", "inclusion"]


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

    Both corrections make the batch stand for the corpus. They apply to the target as to every other column: given
    which columns a batch has, the chance that j is the target is P(j | query) / P(j is drawn), up to a constant (Jean
    et al. 2015). They suppose columns that are shared by the rows. A column with log_q = −∞ was never drawn at random
    (a negative that the data names): it is there with certainty and is not corrected. The γ of the DSSM paper (Huang
    et al. 2013, its loss is this one with ``"ignore"``) is the scorer's ``logit_scale``.

    Args:
        repeats: what is made of repeated candidates, see above.
        symmetric: also classify the query of each row's candidate among the queries of the batch, and take the mean
            of both (CLIP, arXiv 2103.00020). ``TwoTower`` reads this and calls the loss a second time, on the
            transposed problem.

    Also called: InfoNCE, NT-Xent, batch softmax, multiple negatives ranking.

    Sources: Huang et al., CIKM 2013 (DSSM); Jean et al., arXiv 1412.2007 (a sample stands for the vocabulary); Yi et
    al., RecSys 2019, doi 10.1145/3298689.3346996 (in-batch correction). Khrylchenko et al., arXiv 2507.09331, take the
    target out of the sampled sum and weight the rows instead; that is not done here.

    Raises:
        ValueError: ``repeats`` is none of the four.
    """

    def __init__(self, repeats: Repeats = "ignore", symmetric: bool = False) -> None:
        super().__init__()
        if repeats not in get_args(Repeats):
            raise ValueError(f"SampledSoftmax: repeats is {repeats!r}; possible: {', '.join(get_args(Repeats))}")
        self.repeats = repeats
        self.symmetric = symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) cross-entropy; 0 for a query whose target is its only valid column."""
        logits = scores.logits
        if self.repeats != "ignore":
            logits = logits + self._correction(scores)
        return F.cross_entropy(logits.masked_fill(~scores.valid, -math.inf), scores.target, reduction="none")

    def _correction(self, scores: Scores) -> Tensor:
        """(C,) what is added to each column's logits."""
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
