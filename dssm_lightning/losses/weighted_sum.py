"""Several losses of the same scores as one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError, require_positive


class WeightedSum(Loss):
    """The weighted sum of several losses, such as a softmax over the data's own positives and a distillation.

    A row counts as one without negatives only if all losses compare. All of them are symmetric, or none.

    Args:
        losses: at least one.
        weights: one for each loss; None = 1 each.

    Raises:
        UserError: no loss; other than one positive weight for each loss; only some of the losses are symmetric.

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
        if not losses:
            raise UserError("WeightedSum: losses is []; name at least one")
        if weights is not None and len(weights) != len(losses):
            raise UserError(f"WeightedSum: weights has {len(weights)} values, and there are {len(losses)} losses")
        for weight in weights or []:
            require_positive("WeightedSum", "weights", weight)
        self.losses = nn.ModuleList(make() for make in losses)
        self.weights = weights or [1.0] * len(losses)
        parts = self._parts
        self.uses_labels = any(loss.uses_labels for loss in parts)
        self.uses_teacher = any(loss.uses_teacher for loss in parts)
        self.uses_teacher_embeddings = any(loss.uses_teacher_embeddings for loss in parts)
        self.needs_scores = all(loss.needs_scores for loss in parts)
        self.compares = all(loss.compares for loss in parts)
        self.symmetric = parts[0].symmetric
        if len({loss.symmetric for loss in parts}) > 1:
            raise UserError("WeightedSum: symmetric is true for some of the losses, and must be for all or none")
        widths = {loss.dims for loss in parts if loss.dims}
        if len(widths) > 1:
            raise UserError(
                f"WeightedSum: its losses have different dims, {sorted(map(list, widths))}; give all the same"
            )
        self.dims = next(iter(widths), ())

    @property
    def _parts(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted sum of the losses' values."""
        values = [weight * loss(scores) for weight, loss in zip(self.weights, self.losses, strict=True)]
        total: Tensor = sum(values[1:], values[0])
        return total

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"weights={self.weights}"
