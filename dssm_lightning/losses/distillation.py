"""Losses that learn from a teacher's scores of the same columns."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores, Taught
from dssm_lightning.utils.errors import UserError, require_positive


class MarginMSE(Loss):
    r"""Mean squared difference between the student's margin and the teacher's, over a query's valid negatives.

    .. math:: \frac{1}{n} \sum_{j\ \text{valid},\, j \ne t} \big((s_t - s_j) - (u_t - u_j)\big)^2

    with the student's logits :math:`s` and the teacher's scores :math:`u`, each on its own scale: only differences
    count, and the student learns the teacher's scale. With a ``Dot`` on normalised embeddings, the logit scale must
    reach the teacher's margins: make it ``learnable``, or as large as the teacher's.

    Source: Hofstätter et al., arXiv 2010.02666, with one negative for each query; here the mean over all columns.

    Args:
        symmetric: also compare the margins of each row's candidate over the queries of the batch.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import MarginMSE, Scores, Taught
        >>> valid = torch.tensor([[True, True, True]])
        >>> scores = Scores(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]), valid, torch.ones(3), torch.zeros(3),
        ...     None, teacher=Taught(torch.tensor([[9.0, 8.0, 6.0]])))
        >>> MarginMSE()(scores)  # ((2 − 1)² + (3 − 3)²) / 2
        tensor([0.5000])
    """

    uses_teacher = True
    needs_scores = True

    def __init__(self, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean squared difference of margins; 0 for a query without a valid negative."""
        score, valid = taught_columns(scores)
        negative = valid.scatter(1, scores.target[:, None], False)
        difference = scores.logits - score  # (Q, C): both margins differ by its difference to the target's
        squared = (difference.gather(1, scores.target[:, None]) - difference).square()
        return squared.masked_fill(~negative, 0.0).sum(1) / negative.sum(1).clamp(min=1)


class KLDivergence(Loss):
    r"""Divergence of the student's distribution over a query's valid columns from the teacher's.

    .. math:: T^2 \sum_{j\ \text{valid}} p_j \log \frac{p_j}{q_j}, \qquad
        p = \mathrm{softmax}(u / T), \quad q = \mathrm{softmax}(s / T)

    with the student's logits :math:`s` and the teacher's scores :math:`u`. The columns are the same for both, so no
    correction of their frequency is needed. The teacher may rank another candidate above the target. A query without a
    valid negative has the value 0.

    Args:
        temperature: T; above 1 the teacher's order among unlikely candidates weighs more. T² keeps the size of the
            gradient. Logits of a model that was trained by a softmax are on the right scale already.
        symmetric: also compare the distributions over the queries of the batch, for each row's candidate.

    Sources: Hinton et al., arXiv 1503.02531 (temperature); the loss of listed or in-batch candidates is that of
    sentence-transformers' ``DistillKLDivLoss``.

    Raises:
        UserError: the temperature is not positive and finite.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import KLDivergence, Scores, Taught
        >>> valid = torch.tensor([[True, True, False]])
        >>> scores = Scores(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([0]), valid, torch.ones(3), torch.zeros(3),
        ...     None, teacher=Taught(torch.tensor([[3.0, 1.0, 5.0]]).log()))
        >>> KLDivergence()(scores)  # ¾ log(¾ / ½) + ¼ log(¼ / ½)
        tensor([0.1308])
    """

    uses_teacher = True
    needs_scores = True

    def __init__(self, temperature: float = 1.0, symmetric: bool = False) -> None:
        super().__init__()
        require_positive("KLDivergence", "temperature", temperature)
        self.temperature = temperature
        self.symmetric = symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) divergence; 0 for a query without a valid negative."""
        score, valid = taught_columns(scores)
        teacher, student = score / self.temperature, scores.logits / self.temperature
        masked = not scores.all_valid or valid is not scores.valid
        if masked:
            teacher, student = (each.masked_fill(~valid, -math.inf) for each in (teacher, student))
        wanted, found = F.log_softmax(teacher, 1), F.log_softmax(student, 1)
        terms = wanted.exp() * (wanted - found)
        if masked:
            terms = terms.masked_fill(~valid, 0.0)  # −∞ − −∞
        return terms.sum(1) * self.temperature**2

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"temperature={self.temperature}, symmetric={self.symmetric}"


class EmbeddingMSE(Loss):
    r"""Mean squared distance of each row's embeddings from the teacher's, on both sides.

    .. math:: \frac{1}{2 D} \big(\lVert q - q' \rVert^2 + \lVert c_t - c'_t \rVert^2\big)

    with the row's query :math:`q`, its own candidate :math:`c_t`, and their embeddings :math:`q', c'_t` by the teacher.
    The student needs embeddings as wide as the teacher's, and no negatives: a row is judged alone. It learns the
    teacher's axes as well as its order, and then ranks by the teacher's own index.

    Source: sentence-transformers' ``MSELoss`` (Reimers and Gurevych, arXiv 2004.09813).

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import EmbeddingMSE, Scores, Taught
        >>> taught = Taught(torch.zeros(1, 2), error=torch.tensor([0.25]))
        >>> valid = torch.tensor([[True, True]])
        >>> EmbeddingMSE()(Scores(torch.zeros(1, 2), torch.tensor([0]), valid, *torch.ones(2, 2), None, taught))
        tensor([0.2500])
    """

    uses_teacher = True
    uses_teacher_embeddings = True
    compares = False

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) mean squared distance."""
        error = teacher_of(scores).error
        if error is None:
            raise UserError("EmbeddingMSE learns from the embeddings of a teacher, and there are none")
        return error


def teacher_of(scores: Scores) -> Taught:
    """Return what the teacher has to say.

    Raises:
        UserError: there is no teacher.
    """
    if scores.teacher is None:
        raise UserError("the loss learns from the scores of a teacher, and there are none: set model.teacher")
    return scores.teacher


def taught_columns(scores: Scores) -> tuple[Tensor, Tensor]:
    """Return the teacher's scores (Q, C), and which columns count (Q, C): valid ones that the teacher has scored.

    Of a query whose target has no score, only the target counts.
    """
    score, partial, _ = teacher_of(scores)
    if not partial:
        return score, scores.valid
    target, known = scores.target[:, None], ~score.isnan()
    counts = scores.valid & known & known.gather(1, target)
    return score.masked_fill(~known, 0.0), counts.scatter(1, target, True)
