"""Several objectives of one embedding as one loss, such as clicks and purchases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.losses.weighted_sum import WeightedSum
from dssm_lightning.utils.errors import UserError

LEAST_VARIANCE = 0.01
"""A learnt weight is at most the inverse of it."""
_LEARNED = "log_variance_"
"""Stands before the name of an objective, in the name of its learnt weight."""


class Objectives(WeightedSum):
    r"""A loss for each objective of the data, over the same scores: one embedding serves all of them.

    .. math:: \sum_o w_o \, y_o \, L_o

    with :math:`y_o` = 1 for a row that is a positive of objective o, else 0 (``data.objectives``). A row that is a
    positive of several objectives has the loss of each. A loss that learns from rows with label 0
    (``BinaryCrossEntropy``) reads :math:`y_o` as its label instead, for all rows. A
    :class:`~dssm_lightning.losses.RatingHead` learns from the rows that have a rating, under any name.

    A batch is scored once. The value is averaged over the rows that are a positive of any of these objectives, or over
    all rows if one of the losses learns from rows with label 0. A weight is what one positive counts, so that a rare
    objective counts as much as a frequent one when its weight is greater by the ratio of their positives. What a query
    is known to like, for any objective of the data, is no negative of it.

    The order of ``losses`` means nothing: they are kept by name, so that a fit also resumes in another order.

    Args:
        losses: by name of the objective.
        weights: by name, for all of them; None = 1 each; ``learned`` = by the uncertainty of each objective (Kendall,
            Gal and Cipolla, arXiv 1705.07115): :math:`L_o / \sigma_o^2 + \frac12 \log \sigma_o^2` in place of
            :math:`w_o L_o`, with :math:`L_o / 2` for the squared error of a rating. A weight is then about 1 / (2 L),
            whatever the scale of a loss, and at most 100. Which objective matters more to you, it cannot know.

    Raises:
        UserError: no loss; weights for other objectives, or that are not positive; the errors of ``WeightedSum``.
            ``TwoTower`` refuses objectives that the data do not have. Loading a checkpoint with learned weights of
            other objectives.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Objectives, SampledSoftmax, Scores
        >>> bought = {"click": torch.tensor([1.0, 1.0]), "buy": torch.tensor([0.0, 1.0])}
        >>> valid = torch.ones(2, 2, dtype=torch.bool)
        >>> scores = Scores(torch.zeros(2, 2), torch.tensor([0, 1]), valid, *torch.ones(2, 2), None, objectives=bought)
        >>> Objectives({"click": SampledSoftmax, "buy": SampledSoftmax}, {"click": 1.0, "buy": 3.0})(scores)
        tensor([0.6931, 2.7726])
    """

    def __init__(
        self,
        losses: dict[str, Callable[[], Loss]],
        weights: dict[str, float] | Literal["learned"] | None = None,
    ) -> None:
        if not (weights is None or weights == "learned" or isinstance(weights, dict)):
            raise UserError(f"Objectives: weights is {weights!r}; it must be learned, or a number for each objective")
        fixed = weights if isinstance(weights, dict) else None
        if fixed is not None and fixed.keys() != losses.keys():
            raise UserError(
                f"Objectives: weights is for {', '.join(fixed) or 'nothing'}, and losses for {', '.join(losses)}; give "
                "one weight for each loss"
            )
        self.names = tuple(sorted(losses))  # modules and parameters in this order, and so what an optimizer keeps
        shares = None if fixed is None else [fixed[name] for name in self.names]
        super().__init__([losses[name] for name in self.names], shares)
        parts = dict(zip(self.names, self._parts, strict=True))
        self.objectives = tuple(name for name in losses if not _rates(parts[name]))
        self.is_learned = weights == "learned"
        for name in self.names if self.is_learned else ():  # the excess over the least: a weight of 1 to begin with
            self.register_parameter(_key(name), nn.Parameter(torch.tensor(1 - LEAST_VARIANCE).log()))
        self.register_load_state_dict_pre_hook(_require_same_names)  # type: ignore[no-untyped-call]  # PyTorch's

    @property
    def learned_weights(self) -> dict[str, Tensor]:
        """() 1 / σ² of each objective by name; empty if the weights are fixed."""
        return {name: 1 / self._variance(name).detach() for name in self.names if self.is_learned}

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted sum of the objectives' losses."""
        terms = []
        for number, (name, loss) in enumerate(zip(self.names, self._parts, strict=True)):
            value, counts = self._of_objective(name, loss, scores)
            if not self.is_learned:
                terms.append(self.weights[number] * value)
                continue
            variance = self._variance(name)
            half = 0.5 if _rates(loss) else 1.0
            terms.append(half * value / variance + 0.5 * variance.log() * counts)
        total: Tensor = sum(terms[1:], terms[0])
        return total

    def _of_objective(self, name: str, loss: Loss, scores: Scores) -> tuple[Tensor, Tensor]:
        """Return the loss (Q,) of an objective, and 1 for the rows (Q,) that it learns from, else 0."""
        if _rates(loss):
            value: Tensor = loss(scores)
            return value, torch.ones_like(value) if scores.rating is None else (~scores.rating.isnan()).float()
        if scores.objectives is None or name not in scores.objectives:
            raise UserError(f"Objectives: the data have no objective {name!r}: name it in data.objectives")
        positive = scores.objectives[name]
        if loss.uses_labels:
            value = loss(scores._replace(label=positive))
            return value, torch.ones_like(value)
        return loss(scores) * positive, positive

    def _variance(self, name: str) -> Tensor:
        """() σ² of an objective."""
        return self.get_parameter(_key(name)).exp() + LEAST_VARIANCE

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        learned = self.learned_weights
        weights = {name: float(learned.get(name, w)) for name, w in zip(self.names, self.weights, strict=True)}
        shown = ", ".join(f"{name}: {weight:.4g}" for name, weight in weights.items())
        return f"weights={{{shown}}}, learned={self.is_learned}"


def _rates(loss: Loss) -> bool:
    """Return whether a loss reads ratings alone, and no objective: a sum with another loss also reads one."""
    return loss.uses_rating and loss.of_pair


def _key(name: str) -> str:
    """Return the name of the parameter of an objective: PyTorch separates modules by dots."""
    return _LEARNED + name.replace(".", "/")


def _require_same_names(loss: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Refuse a checkpoint with learned weights of other objectives; without any, PyTorch names what is missing."""
    assert isinstance(loss, Objectives)
    start = prefix + _LEARNED
    found = {key.removeprefix(start).replace("/", ".") for key in state if key.startswith(start)}
    own = set(loss.names) if loss.is_learned else set()
    if found and found != own:
        names = ", ".join(sorted(own)) or "no objective"
        raise UserError(
            f"Objectives: the checkpoint has learned weights of {', '.join(sorted(found))}, and this loss of {names}: "
            "give the losses and weights with which the checkpoint was trained, or start without it"
        )
