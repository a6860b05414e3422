"""Pointwise losses: each classifies every scored pair alone, and also learns from pairs shown and not liked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import MAX_FLOAT32, UserError, is_number


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy of each scored pair: −y log σ(s) − (1 − y) log(1 − σ(s)).

    A logit s is the log-odds that the query likes the candidate. The label y of the row's own candidate is the row's
    label (1 without labels); y of every other valid column is 0. A row's value is the mean over its scored pairs, as
    ``torch.nn.BCEWithLogitsLoss`` computes it. With n negatives the positive has a share of 1 / (1 + n). Therefore use
    a few negatives of each row (``per_row=True``; He et al. 2017, arXiv 1708.05031, use four) and not a whole batch,
    for which ``SampledSoftmax`` is made. The range of a cosine is too small for log-odds: set the scorer's
    ``logit_scale``.

    Also called: log loss, sigmoid loss, pointwise logistic loss.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import BinaryCrossEntropy, Scores
        >>> logits, valid = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
        >>> label = torch.tensor([1.0, 0.0])  # row 1: shown and not liked
        >>> BinaryCrossEntropy()(Scores(logits, torch.tensor([0, 1]), valid, torch.ones(3), torch.zeros(3), label))
        tensor([0.6931, 0.6931])
    """

    uses_labels = True
    compares = False

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over each query's valid columns, including its own candidate."""
        pairs = F.binary_cross_entropy_with_logits(scores.logits, _liked(scores), reduction="none")
        return _mean_over_pairs(pairs, scores)


class GBCE(Loss):
    r"""Binary cross-entropy whose positive is calibrated for the rate at which negatives are sampled (gSASRec).

    .. math:: \frac{1}{1 + n} \Big( -\log \sigma^\beta(s^+) - \sum_{j = 1}^{n} \log(1 - \sigma(s_j)) \Big), \qquad
        \beta = \alpha \Big( t \Big( 1 - \frac{1}{\alpha} \Big) + \frac{1}{\alpha} \Big) = t \alpha + 1 - t

    with the rate :math:`\alpha = n / (N - 1)`: n is the number of valid negatives of the query, N the size of the
    corpus, which ``TwoTower`` puts into ``Scores``. Few negatives make a model overconfident: σ(s) of a sampled
    cross-entropy is far above the probability that the query likes the candidate. With t = 1 the minimum of the loss
    has σ(s) equal to that probability, whatever the rate is; t = 0 is ``BinaryCrossEntropy``. As
    −log σ^β(s) = β log(1 + exp(−s)), no power is computed. A row with label 0 counts its candidate as a negative.

    The calibration assumes that negatives are drawn uniformly: use ``Uniform`` negatives, a few hundred of each row.
    As for ``BinaryCrossEntropy``, the range of a cosine is too small for log-odds.

    Args:
        t: calibration in [0, 1]; the paper uses 0.75 with 256 negatives.

    Source: Petrov and Macdonald, RecSys 2023, arXiv 2308.07192.

    Raises:
        UserError: t is outside [0, 1]; the scores do not say how large the corpus is.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import GBCE, Scores
        >>> logits, valid = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, torch.ones(3), torch.zeros(3), None, num_candidates=5)
        >>> GBCE(t=1.0)(scores)  # β = α = 2 / 4: (0.5 log 2 + 2 log 2) / 3
        tensor([0.5776])
    """

    uses_labels = True
    compares = False

    def __init__(self, t: float = 0.75) -> None:
        super().__init__()
        if not (is_number(t) and 0 <= t <= 1):
            raise UserError(f"GBCE: t is {t}; it must be a number in [0, 1]")
        self.t = t

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over each query's valid columns, including its own candidate."""
        liked = _liked(scores)
        positive = self.beta(scores)[:, None] * F.softplus(-scores.logits)
        pairs = liked * positive + (1 - liked) * F.softplus(scores.logits)
        return _mean_over_pairs(pairs, scores)

    def beta(self, scores: Scores) -> Tensor:
        """(Q,) the power of the positive's probability, from 1 − t without a negative to 1 with the whole corpus.

        Raises:
            UserError: the scores do not say how large the corpus is.
        """
        if scores.num_candidates is None:
            raise UserError("GBCE: the scores do not say how large the corpus is; give Scores num_candidates")
        rate = scores.num_negatives.to(scores.logits.dtype) / max(1, scores.num_candidates - 1)
        return self.t * rate.clamp(max=1.0) + (1 - self.t)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"t={self.t}"


class SigLIP(Loss):
    r"""Sigmoid loss: classify each scored pair alone, without a softmax, and sum the pairs of a query.

    .. math:: \sum_{j\ \text{valid}} -\log \sigma(z_j (s_j + b)), \qquad z_j = 1 \text{ if liked, else } -1

    The row's own candidate is liked unless its label is 0; every other valid column is not liked. Most columns are not
    liked, so b starts far below 0; otherwise the first steps would only push all pairs apart. b is trained with the
    towers and saved in the checkpoint with the loss. b changes no ranking, so serving does not need it.

    The loss is ``BinaryCrossEntropy`` with b and with a sum in place of the mean. A row whose own candidate is its only
    column also has a value. The paper uses cosines and a learnable scale that starts at 10:
    ``Dot(logit_scale=10, learnable=True)``. The sum grows with the number of columns.

    Args:
        bias: initial value of b.
        learnable: whether training changes b.

    Source: arXiv 2303.15343.

    Raises:
        UserError: the bias is not a finite number.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Scores, SigLIP
        >>> logits, valid = torch.tensor([[10.0, 10.0]]), torch.ones(1, 2, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, count=torch.ones(2), log_q=torch.zeros(2), label=None)
        >>> SigLIP(bias=-10, learnable=False)(scores)  # 2 log 2
        tensor([1.3863])
    """

    uses_labels = True
    compares = False

    def __init__(self, bias: float = -10.0, learnable: bool = True) -> None:
        super().__init__()
        if not (is_number(bias) and abs(bias) < MAX_FLOAT32):
            raise UserError(f"SigLIP: bias is {bias}; it must be a finite number")
        # Shape (1,): FSDP cannot shard scalars.
        self.bias = nn.Parameter(torch.tensor([float(bias)]), requires_grad=learnable)

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) sum over each query's valid columns, including its own candidate."""
        logits = scores.logits + self.bias
        pairs = F.binary_cross_entropy_with_logits(logits, _liked(scores), reduction="none")
        return pairs.masked_fill(~scores.valid, 0.0).sum(1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"bias={self.bias.item():.4g}, learnable={self.bias.requires_grad}"


class CosineEmbedding(Loss):
    """Pull liked pairs to a cosine of 1, push other pairs below the margin: 1 − cos, and max(0, cos − margin).

    A row's value is the mean over its scored pairs, as ``torch.nn.CosineEmbeddingLoss`` computes it. The row's own
    candidate is liked unless its label is 0; every other valid column is not liked.

    The logits must be cosines: set ``normalize: true`` in both towers, and use ``Dot`` with a fixed ``logit_scale`` of
    1.

    Args:
        margin: cosine in [−1, 1) up to which a pair that is not liked costs nothing.

    Raises:
        UserError: the margin is outside [−1, 1).

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import CosineEmbedding, Scores
        >>> logits, valid = torch.tensor([[0.5, 0.75, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
        >>> scores = Scores(logits, torch.tensor([0]), valid, count=torch.ones(3), log_q=torch.zeros(3), label=None)
        >>> CosineEmbedding(margin=0.5)(scores)  # the mean of 0.5, 0.25 and 0
        tensor([0.2500])
    """

    uses_labels = True
    compares = False

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        if not (is_number(margin) and -1 <= margin < 1):
            raise UserError(f"CosineEmbedding: margin is {margin}; it must be a cosine in [-1, 1)")
        self.margin = margin

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over each query's valid columns, including its own candidate."""
        cosine = scores.logits
        pairs = torch.where(_liked(scores) > 0, 1 - cosine, F.relu(cosine - self.margin))
        return _mean_over_pairs(pairs, scores)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"margin={self.margin}"


def _liked(scores: Scores) -> Tensor:
    """(Q, C) float32: each row's label at its target, 0 at other columns."""
    label = torch.ones_like(scores.logits[:, 0]) if scores.label is None else scores.label
    return torch.zeros_like(scores.logits).scatter(1, scores.target[:, None], label[:, None])


def _mean_over_pairs(pairs: Tensor, scores: Scores) -> Tensor:
    """(Q,) mean of the pairs' values (Q, C) over the valid columns, which always include the target."""
    return pairs.masked_fill(~scores.valid, 0.0).sum(1) / scores.valid.sum(1)
