"""The softmax loss: all valid columns of a query compete at once."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.losses.cross_entropy import cross_entropy
from dssm_lightning.utils.errors import require_choice

Repeats = Literal["ignore", "count", "count_log_q", "inclusion", "refined"]


class SampledSoftmax(Loss):
    r"""Cross-entropy of the target against the columns of the batch.

    .. math:: -\log \frac{\exp(s_t + c_t)}{\sum_{j\ \text{valid}} \exp(s_j + c_j)}

    with logits :math:`s` and a correction :math:`c` of each column, which has no gradient. Each column is a *distinct*
    candidate. ``repeats`` selects the correction for candidates that a batch proposes more or less often:

    - ``"ignore"``: c = 0. A softmax over the distinct columns.
    - ``"count"``: c = log(count). The gradients are those of the usual in-batch softmax, which has one column for each
      row and keeps repeated columns (TensorFlow Recommenders' ``Retrieval`` task, sentence-transformers'
      ``MultipleNegativesRankingLoss``). The value is lower by the constant log(count) of the target, because all copies
      of the target count as hits. A column that was only sampled is once in the batch, so it counts as 1.
    - ``"count_log_q"``: c = log(count) − log_q, the sampling-bias correction of Yi et al. (2019). Each repetition
      weighs 1 / expected repetitions, so that popular candidates are not pushed down for their popularity.
    - ``"inclusion"``: c = −log(1 − exp(−exp(log_q))), minus the log-probability that the batch holds the candidate at
      least once if its number of proposals is Poisson with mean exp(log_q). This correction fits distinct columns. It
      tends to −log_q for a rare candidate, and to 0 for a candidate that every batch holds.
    - ``"refined"``: the target is not a sample, because the batch always holds it, and is left out of the sampled sum
      (see below).

    With ``"count_log_q"`` and ``"inclusion"`` the batch stands for the corpus. Both correct the target like every other
    column: for given columns of a batch, the probability that j is the target is P(j | query) / P(j is drawn), up to a
    constant (Jean et al. 2015). Both assume columns that all rows share.

    ``"refined"`` estimates the gradient of the softmax over the corpus instead (Khrylchenko et al. 2025). This gradient
    is the target's error 1 − P times the gradient of log Z − s_t, where Z sums over all *other* candidates:

    .. math:: \mathrm{sg}(1 - \hat P) \, (\log \hat Z - s_t), \qquad
        \hat Z = \sum_{j\ \text{valid},\, j \ne t} \frac{\exp(s_j)}{\pi_j}, \qquad
        \hat P = \frac{\exp(s_t)}{\exp(s_t) + \hat Z}

    where sg stops the gradient and π = 1 − exp(−exp(log_q)) is the probability that the batch holds j. The paper sums
    over its n draws other than t and divides each term by n Q(j) / (1 − Q(t)), for draws from one distribution Q. This
    divisor is the expected number of draws of j; for distinct columns it becomes π. :math:`\hat Z` is an unbiased
    estimate of the sum over the candidates that count, for any mixture of samplers, and for columns that are shared or
    a row's own. Rows with a confident prediction weigh less. The value is not a likelihood: it is negative where the
    target's exp(s) exceeds :math:`\hat Z`.

    A column with log_q = −∞ was not drawn at random (a negative that the data names). The batch holds it with
    certainty, so it is not corrected. The γ of the DSSM paper (Huang et al. 2013, whose loss is ``"ignore"``) is the
    scorer's ``logit_scale``.

    Args:
        repeats: the correction for repeated candidates, see above.
        symmetric: also classify the query of each row's candidate among the queries of the batch, and take the mean
            of both losses (CLIP, arXiv 2103.00020). ``TwoTower`` reads this setting and calls the loss a second time,
            on the transposed problem.

    Also called: InfoNCE, NT-Xent, batch softmax, multiple negatives ranking.

    Sources: Huang et al., CIKM 2013 (DSSM); Jean et al., arXiv 1412.2007 (a sample stands for the vocabulary); Yi et
    al., RecSys 2019, doi 10.1145/3298689.3346996 (in-batch correction); Khrylchenko et al., RecSys 2025, arXiv
    2507.09331 (refined).

    Raises:
        UserError: ``repeats`` is none of the five.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import SampledSoftmax, Scores
        >>> logits = torch.tensor([[1.0, 3.0, 6.0]]).log()
        >>> valid = torch.tensor([[True, True, False]])
        >>> scores = Scores(logits, torch.tensor([1]), valid, count=torch.ones(3), log_q=torch.zeros(3), label=None)
        >>> SampledSoftmax()(scores)  # −log(3 / (1 + 3))
        tensor([0.2877])
    """

    def __init__(self, repeats: Repeats = "ignore", symmetric: bool = False) -> None:
        super().__init__()
        require_choice("SampledSoftmax", "repeats", repeats, get_args(Repeats))
        self.repeats = repeats
        self.symmetric = symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) cross-entropy, or its refined estimate; 0 for a query without a valid negative."""
        if self.repeats == "refined":
            return _refined(scores.logits + self._correction(scores), scores)
        correction = None if self.repeats == "ignore" else self._correction(scores)
        return cross_entropy(scores.logits, scores.target, correction, None if scores.all_valid else scores.valid)

    def _correction(self, scores: Scores) -> Tensor:
        """(C,) or (Q, C) the correction that is added to each column's logits."""
        log_count = scores.count.clamp(min=1).log()
        if self.repeats == "count":
            return log_count
        log_q = scores.log_q.clamp(min=-80.0)  # exp(−80) is still a normal float32
        # expm1 keeps the digits for rarely proposed candidates, where 1 − exp(−x) loses all of them
        correction = log_count - log_q if self.repeats == "count_log_q" else -(-torch.expm1(-log_q.exp())).log()
        return correction.masked_fill(scores.log_q == -math.inf, 0.0)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"repeats={self.repeats!r}, symmetric={self.symmetric}"


def _refined(corrected: Tensor, scores: Scores) -> Tensor:
    """(Q,) sg(1 − P) (log Z − s_t), from corrected logits (Q, C) of the negatives and the target's own logit."""
    negative = scores.is_negative
    alone = ~negative.any(1)
    # Rows without a negative keep their logits: the gradient of logsumexp over −∞ alone is NaN.
    others = corrected.masked_fill(~negative & ~alone[:, None], -math.inf)
    log_odds = others.logsumexp(1) - scores.positive.squeeze(1)  # (Q,) log Z − s_t: log-odds of another candidate
    return (log_odds.detach().sigmoid() * log_odds).masked_fill(alone, 0.0)
