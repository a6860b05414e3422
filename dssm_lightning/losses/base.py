"""The input and the output of every loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Taught(NamedTuple):
    """What a loss can learn from a teacher.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Taught
        >>> Taught(torch.tensor([[3.0, 1.0]])).partial
        False
    """

    score: Tensor  # (Q, C) float32: the teacher's score of each column; NaN = no score, if `partial`
    partial: bool = False
    """Whether columns may have no score."""
    error: Tensor | None = None
    """(Q,) mean squared distance of the embeddings of both sides from the teacher's, for a loss that asks for it."""


class Scores(NamedTuple):
    """The scored batch, which is a loss's only input: Q queries and C columns, one column for each scored candidate.

    Usually all queries share the C columns. Where rows have their own negatives, a query's C columns are its target and
    its own negatives, and ``count`` and ``log_q`` are (Q, C).

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Scores
        >>> valid = torch.tensor([[True, True, False], [True, True, True]])  # query 0 is known to like candidate 2
        >>> scores = Scores(
        ...     torch.tensor([[2.0, 1.0, 3.0], [0.0, 4.0, 1.0]]), torch.tensor([0, 1]), valid,
        ...     count=torch.ones(3), log_q=torch.zeros(3), label=None,
        ... )
        >>> scores.positive.tolist(), scores.is_negative.tolist()
        ([[2.0], [4.0]], [[False, True, False], [True, False, True]])
    """

    logits: Tensor  # (Q, C) float32
    target: Tensor  # (Q,) int64: the column of each query's own candidate
    valid: Tensor  # (Q, C) bool: whether the column counts for the query; True at the target
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count
    # (C,) or (Q, C) float32: rows of the (global) batch whose own candidate is this column; 0 for a sampled column
    log_q: Tensor  # (C,) or (Q, C) float32: log of the expected number of times that a batch proposes this column
    label: Tensor | None  # (Q,) float32: 1 liked, 0 shown and not liked; None = all liked
    teacher: Taught | None = None  # what a teacher has to say of the same columns; None = no teacher
    num_candidates: int | None = None  # N, the size of the corpus; None where the columns are no candidates of it
    narrow: tuple[Tensor, ...] = ()
    # (Q, C) float32 each: the logits of embeddings cut to the widths of the loss, without those of whole embeddings
    objectives: Mapping[str, Tensor] | None = None  # by name (Q,) float32: 1 for a positive of the objective, else 0
    rating: Tensor | None = None  # (Q,) float32: in standard deviations from the mean; NaN = not rated
    pair: tuple[Tensor, Tensor] | None = None  # (Q, D) embedding of the query, (Q, D) of its own candidate
    liked: Tensor | None = None  # (Q, C) bool: the target and the query's known positives
    own: Tensor | None = None  # (C,) float32: the logit of each candidate with itself, by what the layers make

    @property
    def all_valid(self) -> bool:
        """Whether ``valid`` is a single value, expanded. Then nothing is masked, and a pass over (Q, C) is saved."""
        return self.valid.stride() == (0, 0)

    @property
    def positive(self) -> Tensor:
        """(Q, 1) logit of each query's own candidate."""
        return self.logits.gather(1, self.target[:, None])

    @property
    def is_negative(self) -> Tensor:
        """(Q, C) bool: the valid columns without the target."""
        return self.valid.scatter(1, self.target[:, None], False)

    @property
    def has_negative(self) -> Tensor:
        """(Q,) bool: whether any column besides the target is valid."""
        return self.num_negatives > 0

    @property
    def num_negatives(self) -> Tensor:
        """(Q,) int32: number of valid columns besides the target."""
        if self.all_valid:
            return torch.full_like(self.target, self.valid.shape[1] - 1, dtype=torch.int32)
        return self.valid.sum(1, dtype=torch.int32) - 1  # takes a third of the time of is_negative.any(1)

    @property
    def num_taught(self) -> Tensor:
        """(Q,) int32: number of negatives with a teacher's score; 0 where the target has none."""
        if self.teacher is None or not self.teacher.partial:
            return self.num_negatives
        known = ~self.teacher.score.isnan()
        return (self.is_negative & known & known.gather(1, self.target[:, None])).sum(1, dtype=torch.int32)


class Loss(nn.Module):
    """Base of all losses: ``Scores`` -> (Q,), one value for each query.

    ``TwoTower`` weights the values and takes their mean, once. It refuses values of another shape, such as a mean ().

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Loss, Scores
        >>> class SquaredHinge(Loss):
        ...     def forward(self, scores):
        ...         violation = (1 + scores.logits - scores.positive).clamp(min=0) ** 2
        ...         return violation.masked_fill(~scores.is_negative, 0).sum(1)
        >>> logits, valid = torch.tensor([[2.0, 1.5, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
        >>> SquaredHinge()(Scores(logits, torch.tensor([0]), valid, torch.ones(3), torch.zeros(3), None))
        tensor([0.2500])
    """

    uses_labels: bool = False
    """Whether the loss learns from rows with label 0. Otherwise ``TwoTower`` leaves these rows out."""
    compares: bool = True
    """Whether the loss learns nothing from a row without a valid negative. ``TwoTower`` then gives such a row no weight
    and counts it. A loss that classifies each pair alone learns from the positive, and keeps such rows."""
    uses_teacher: bool = False
    """Whether the loss reads ``Scores.teacher``. ``TwoTower`` then needs a ``teacher``."""
    needs_scores: bool = False
    """Whether a loss that compares learns nothing from a row without a teacher's scores. The row has no weight then."""
    uses_teacher_embeddings: bool = False
    """Whether the loss reads ``Scores.teacher.error``. The teacher must then have embeddings as wide as the model's."""
    symmetric: bool = False
    """Whether to add the same loss on the transposed problem: each row's candidate against all queries."""
    dims: tuple[int, ...] = ()
    """Ascending widths of the embedding, the last one whole. ``TwoTower`` then also scores embeddings cut to each of
    the others, for ``Scores.narrow``. Empty = the whole embedding alone."""
    objectives: tuple[str, ...] = ()
    """Names of the data's objectives whose positives the loss reads in ``Scores.objectives``."""
    uses_rating: bool = False
    """Whether the loss reads ``Scores.rating`` and ``Scores.pair``. The data then need a ``rating``."""
    uses_likes: bool = False
    """Whether the loss reads ``Scores.liked`` and ``Scores.own``. The data then need ``mask_known``."""
    of_pair: bool = False
    """Whether the value is that of the row's own pair alone. It is then the same on the transposed problem, so that the
    loss stands beside symmetric ones and others."""

    def build(self, widths: tuple[int, int]) -> None:
        """Make the layers that depend on the widths of a query's and of a candidate's embedding, once."""

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) one value for each query. If the loss compares, the value of a query without a valid negative is 0."""
        raise NotImplementedError
