"""Several teachers as one."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.training.teachers.base import Teacher
from dssm_lightning.utils.errors import UserError, require_positive

SAMPLE = 1024
"""Training rows, and candidates, by which the scales of teachers are compared."""


class Ensemble(Teacher):
    r"""The mean of several teachers' scores, each on the scale of the first.

    .. math:: s = \sum_k w_k \frac{m_1}{m_k} s_k \Big/ \sum_k w_k

    where :math:`m_k` is teacher k's mean margin: its score of a training positive minus its mean score of the corpus,
    over up to 1,024 rows and candidates. Logits of towers and scores of BM25 differ in scale, and the largest scale
    would outvote the others. A z-score over the columns of a batch would depend on the batch; and since nearly all of
    BM25's scores are 0, a standard deviation would make its few matches enormous. What a student learns are margins,
    so these are made equal. Of equally trained teachers the scales are nearly 1, and the mean is that of their logits.
    A much weaker teacher needs a small weight: with an equal say it makes the mean worse than the best teacher.

    Args:
        teachers: at least one.
        weights: w, a positive number for each teacher; None = 1 each.

    Raises:
        UserError: no teacher, or one that scores listed pairs only; another number of weights than of teachers, or a
            weight that is not positive; in :meth:`bind`, a teacher that scores the training positives no higher than
            the corpus.

    Example:
        >>> from dssm_lightning.training.teachers import BM25Teacher, CheckpointTeacher
        >>> str(Ensemble([CheckpointTeacher("a.ckpt"), BM25Teacher()], weights=[1, 0.1]))
        'Ensemble of a.ckpt and 0.1 × BM25(k1=1.2, b=0.75)'
    """

    def __init__(self, teachers: list[Teacher], weights: list[float] | None = None) -> None:
        if not teachers:
            raise UserError("Ensemble: teachers is []; name at least one")
        for teacher in teachers:
            if teacher.partial:
                raise UserError(f"Ensemble: teacher {teacher} scores listed pairs only, so that its scale is not known")
        if weights is not None and len(weights) != len(teachers):
            raise UserError(f"Ensemble: weights has {len(weights)} numbers for {len(teachers)} teachers")
        for weight in weights or []:
            require_positive("Ensemble", "weights", weight, "leave out a teacher that should not count")
        self.teachers = teachers
        self.weights = [1.0] * len(teachers) if weights is None else list(weights)
        self._scales = [1.0] * len(teachers)

    def open(self) -> None:
        """Open each teacher."""
        for teacher in self.teachers:
            teacher.open()

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Bind each teacher, and compare their scales."""
        interactions = data.data.interactions
        rows = _spread(interactions.rows(TRAIN, label=1)).to(device)
        corpus = _spread(torch.arange(data.num_candidates)).to(device)
        own = interactions.candidate[rows.cpu()][:, None].to(device)
        margins = []
        for teacher in self.teachers:
            teacher.bind(data, device)
            margin = (teacher.score(rows, own) - teacher.score(rows, corpus).mean(1, keepdim=True)).mean().item()
            if margin <= 0:
                raise UserError(
                    f"teacher {teacher} scores training positives {margin:.3g} above the corpus on average; a teacher "
                    "of an ensemble must score them higher"
                )
            margins.append(margin)
        mean = [weight / sum(self.weights) for weight in self.weights]
        self._scales = [weight * margins[0] / margin for weight, margin in zip(mean, margins, strict=True)]

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        scores = [scale * each.score(rows, candidates) for scale, each in zip(self._scales, self.teachers, strict=True)]
        return torch.stack(scores).sum(0)

    @property
    def signature(self) -> str:
        """The signatures of all teachers."""
        return self._named([each.signature for each in self.teachers])

    def __str__(self) -> str:
        """Return the names of all teachers."""
        return self._named([str(each) for each in self.teachers])

    def _named(self, names: list[str]) -> str:
        weighted = [f"{'' if w == 1 else f'{w:g} × '}{name}" for w, name in zip(self.weights, names, strict=True)]
        return f"Ensemble of {' and '.join(weighted)}"


def _spread(numbers: Tensor) -> Tensor:
    """Return at most :data:`SAMPLE` of the numbers, evenly spaced."""
    count = min(SAMPLE, len(numbers))
    return numbers[torch.arange(count) * len(numbers) // count]
