"""A rating head: a number of each pair, predicted from both embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError, require_whole


class RatingHead(Loss):
    r"""Squared error of a rating that a small network predicts from the embeddings of the row's own pair.

    .. math:: \big(f(q, c_t) - r\big)^2

    with a network f of one hidden layer, which reads both embeddings and, if they are of one width, their product
    number by number. The ratings r are those of ``data.rating``, in standard deviations from the mean of the training
    rows: 1 is the loss of a network that always predicts the mean. A row without a rating has the loss 0.

    The network stands on the side: it teaches the embeddings how good a candidate was, and nothing else uses it.
    Retrieval, indexes and bundles are those of a model without it; a checkpoint has it for a resumed fit. Put it beside
    the loss that retrieves, in a :class:`~dssm_lightning.losses.WeightedSum` or in
    :class:`~dssm_lightning.losses.Objectives`. It learns from rows with label 0, which are often the low ratings.

    Args:
        hidden_dim: numbers of the hidden layer.

    Raises:
        UserError: a width below 1; in ``forward``, scores without ratings.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import RatingHead, Scores
        >>> head = RatingHead(hidden_dim=4)
        >>> head.build((3, 3))
        >>> _ = [torch.nn.init.zeros_(parameter) for parameter in head.parameters()]  # it predicts the mean, 0
        >>> valid, pair = torch.ones(2, 2, dtype=torch.bool), (torch.ones(2, 3), torch.ones(2, 3))
        >>> scores = Scores(torch.zeros(2, 2), torch.tensor([0, 1]), valid, *torch.ones(2, 2), None,
        ...     rating=torch.tensor([1.5, torch.nan]), pair=pair)
        >>> head(scores).tolist()
        [2.25, 0.0]
    """

    uses_labels = True
    uses_rating = True
    of_pair = True
    compares = False

    def __init__(self, hidden_dim: int = 32) -> None:
        super().__init__()
        require_whole("RatingHead", "hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.layers: nn.Sequential | None = None

    def build(self, widths: tuple[int, int]) -> None:
        """Make the network for embeddings of these widths; a second call does nothing."""
        if self.layers is None:
            query, candidate = widths
            read = query + candidate + (query if query == candidate else 0)
            self.layers = nn.Sequential(nn.Linear(read, self.hidden_dim), nn.ReLU(), nn.Linear(self.hidden_dim, 1))

    def predict(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (Q, D) -> (Q,) ratings in standard deviations from the mean, in float32 also under autocast."""
        assert self.layers is not None, "the layers are not built"
        with torch.autocast(query.device.type, enabled=False):
            sides = [query.float(), candidate.float()]
            product = [sides[0] * sides[1]] if query.shape == candidate.shape else []
            predicted: Tensor = self.layers(torch.cat([*sides, *product], dim=1)).squeeze(1)
            return predicted

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) squared error; 0 for a row without a rating."""
        if scores.rating is None or scores.pair is None:
            raise UserError("RatingHead predicts ratings, and there are none: name their column by data.rating")
        rated = ~scores.rating.isnan()
        error = (self.predict(*scores.pair) - scores.rating.nan_to_num()).square()
        return error * rated

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"hidden_dim={self.hidden_dim}"
