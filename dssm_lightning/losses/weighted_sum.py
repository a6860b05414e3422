"""Several losses of the same scores as one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError, require_positive


class WeightedSum(Loss):
    """The weighted sum of several losses, such as a softmax over the data's own positives and a distillation.

    A row counts as one without negatives only if all losses compare. All of them are symmetric, or none. Where one of
    them learns from rows with label 0, the others leave these rows out.

    Args:
        losses: at least one.
        weights: one for each loss; None = 1 each.

    Raises:
        UserError: no loss; other than one positive weight for each loss; only some of the losses are symmetric; one of
            them is :class:`~dssm_lightning.losses.Objectives`, which is a sum itself.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import KLDivergence, SampledSoftmax, Scores, Taught
        >>> scores = Scores(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), torch.tensor([[True, True]]),
        ...     torch.ones(2), torch.zeros(2), None, teacher=Taught(torch.tensor([[3.0, 1.0]]).log()))
        >>> WeightedSum([SampledSoftmax, KLDivergence], weights=[1.0, 2.0])(scores)  # log 2 + 2 · 0.1308
        tensor([0.9548])
    """

    def __init__(self, losses: list[Callable[[], Loss]], weights: list[float] | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        if not losses:
            raise UserError(f"{name}: losses is []; name at least one")
        if weights is not None and len(weights) != len(losses):
            raise UserError(f"{name}: weights has {len(weights)} values, and there are {len(losses)} losses")
        for weight in weights or []:
            require_positive(name, "weights", weight)
        self.losses = nn.ModuleList(make() for make in losses)
        self.weights = weights or [1.0] * len(losses)
        parts = self._parts
        self.uses_labels = any(loss.uses_labels for loss in parts)
        self.uses_teacher = any(loss.uses_teacher for loss in parts)
        self.uses_teacher_embeddings = any(loss.uses_teacher_embeddings for loss in parts)
        self.needs_scores = all(loss.needs_scores for loss in parts)
        self.compares = all(loss.compares for loss in parts)
        self.uses_rating = any(loss.uses_rating for loss in parts)
        self.uses_likes = any(loss.uses_likes for loss in parts)
        self.of_pair = all(loss.of_pair for loss in parts)
        sides = {loss.symmetric for loss in parts if not loss.of_pair}
        self.symmetric = True in sides
        if len(sides) > 1:
            raise UserError(f"{name}: symmetric is true for some of the losses, and must be for all or none")
        widths = {loss.dims for loss in parts if loss.dims}
        if len(widths) > 1:
            raise UserError(f"{name}: its losses have different dims, {sorted(map(list, widths))}; give all the same")
        self.dims = next(iter(widths), ())
        if any(loss.objectives for loss in parts):
            raise UserError(
                f"{name}: one of its losses is Objectives, which is a sum itself; add the others to its losses"
            )

    @property
    def _parts(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted sum of the losses' values."""
        values = [weight * self._value(loss, scores) for weight, loss in zip(self.weights, self._parts, strict=True)]
        total: Tensor = sum(values[1:], values[0])
        return total

    def build(self, widths: tuple[int, int]) -> None:
        """Make the layers of all losses."""
        for loss in self._parts:
            loss.build(widths)

    def _value(self, loss: Loss, scores: Scores) -> Tensor:
        """(Q,) the values of one of the losses, 0 where it has no use for the row."""
        value: Tensor = loss(scores)
        if scores.label is None or loss.uses_labels or not self.uses_labels:
            return value
        return value * scores.label

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"weights={self.weights}"
