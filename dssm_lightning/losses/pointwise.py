"""Losses that judge each scored pair by itself, and so have a use for what was shown and not liked."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError


class BinaryCrossEntropy(Loss):
    """Each logit is the log-odds that the pair is liked: −y log σ(s) − (1 − y) log(1 − σ(s)).

    y is the row's label at its own candidate (1 without labels) and 0 at every other valid column. A row's value is
    the mean over its scored pairs, so that it is ``torch.nn.BCEWithLogitsLoss`` over them. With n negatives the
    positive has a share of 1 / (1 + n): take a few of a row's own (``per_row=True``, He et al. 2017, arXiv 1708.05031,
    have four) rather than a whole batch, for which ``SampledSoftmax`` is made. Cosines alone span too little: give the
    scorer a ``logit_scale``.

    Also called: log loss, sigmoid loss, pointwise logistic loss.
    """

    uses_labels: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over each query's valid columns, its own candidate among them."""
        pairs = F.binary_cross_entropy_with_logits(scores.logits, _liked(scores), reduction="none")
        return _mean_over_pairs(pairs, scores)


class SigLIP(Loss):
    r"""Each scored pair is a classification of its own, and a query's value the sum of them: no softmax.

    .. math:: \sum_{j\ \text{valid}} -\log \sigma(z_j (s_j + b)), \qquad z_j = 1 \text{ if liked, else } -1

    The row's own candidate is liked unless its label is 0; every other valid column is not. As the others are many and
    mostly right, b starts far below 0, so that training does not begin by pushing everything apart. It is learnt with
    the towers, lies in the checkpoint with the loss, and changes no ranking: nothing that serves needs it.

    It is ``BinaryCrossEntropy`` summed in place of averaged, with b, and like it has a value where a row's own
    candidate is its only column. The paper pairs it with cosines and a learnt scale that starts at 10:
    ``Dot(logit_scale=10, learnable=True)``. The sum grows with the number of columns.

    Args:
        bias: where b starts.
        learnable: whether training changes b.

    Source: arXiv 2303.15343.

    Raises:
        ValueError: the bias is no finite number.
    """

    uses_labels: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def __init__(self, bias: float = -10.0, learnable: bool = True) -> None:
        super().__init__()
        if not math.isfinite(bias):
            raise UserError(f"SigLIP: bias is {bias}; it must be a finite number")
        self.bias = nn.Parameter(torch.tensor([float(bias)]), requires_grad=learnable)  # (1,): FSDP shards no scalars

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) sum over each query's valid columns, its own candidate among them."""
        logits = scores.logits + self.bias
        pairs = F.binary_cross_entropy_with_logits(logits, _liked(scores), reduction="none")
        return pairs.masked_fill(~scores.valid, 0.0).sum(1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"bias={self.bias.item():.4g}, learnable={self.bias.requires_grad}"


class CosineEmbedding(Loss):
    """Pulls liked pairs to a cosine of 1 and pushes the others below the margin: 1 − cos, and max(0, cos − margin).

    A row's value is the mean over its scored pairs: ``torch.nn.CosineEmbeddingLoss`` over them. The row's own
    candidate is liked unless its label is 0; every other valid column is not.

    The logits must *be* cosines: both towers with ``normalize: true``, and ``Dot`` with a fixed ``logit_scale`` of 1.

    Args:
        margin: cosine up to which a pair that is not liked costs nothing, in [−1, 1).

    Raises:
        ValueError: the margin is outside [−1, 1).
    """

    uses_labels: ClassVar[bool] = True
    compares: ClassVar[bool] = False

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        if not -1 <= margin < 1:
            raise UserError(f"CosineEmbedding: margin is {margin}; it is a cosine in [-1, 1)")
        self.margin = margin

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean over each query's valid columns, its own candidate among them."""
        cosine = scores.logits
        pairs = torch.where(_liked(scores) > 0, 1 - cosine, F.relu(cosine - self.margin))
        return _mean_over_pairs(pairs, scores)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"margin={self.margin}"


def _liked(scores: Scores) -> Tensor:
    """(Q, C) float32: the label at the target, 0 elsewhere."""
    label = torch.ones_like(scores.logits[:, 0]) if scores.label is None else scores.label
    return torch.zeros_like(scores.logits).scatter(1, scores.target[:, None], label[:, None])


def _mean_over_pairs(pairs: Tensor, scores: Scores) -> Tensor:
    """(Q,) mean of the pairs' values (Q, C) over the valid columns; the target is always one of them."""
    return pairs.masked_fill(~scores.valid, 0.0).sum(1) / scores.valid.sum(1)
