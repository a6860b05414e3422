"""Sequences of ids of which some count more than others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, id_table
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class AttentionPooling(Encoder):
    r"""A mean of a text's embedded tokens whose weights are learnt: content words count, *the* and *a* need not.

    .. math:: v = \sum_t \alpha_t e_t, \qquad \alpha = \mathrm{softmax}_t\big(u^\top \tanh(A e_t + b)\big)

    over the embeddings :math:`e_t` of a row's own tokens. The order of the tokens does not matter. It starts as
    :class:`EmbeddingBag` with ``pooling: mean``, since u starts at zero.

    A row without tokens gives zeros.

    Args:
        feature: a fitted feature of ragged ids, such as Words, Tokens or HashedTrigrams.
        output_dim: width D of the table.
        hidden_dim: width of the layer that weighs.

    Raises:
        ValueError: a width below 1, or a feature without ids.

    Source: Yang et al., "Hierarchical attention networks", NAACL 2016 (its word attention).
    """

    def __init__(self, feature: Feature, output_dim: int = 128, hidden_dim: int = 64) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise UserError(f"encoder of {feature.name!r}: hidden_dim is {hidden_dim}; it must be at least 1")
        self.table = id_table(feature, output_dim)
        self.hidden = nn.Linear(output_dim, hidden_dim)
        self.query = nn.Parameter(torch.zeros(hidden_dim))
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        # each distinct token is weighed once, however often the batch has it
        ids, place = torch.unique(column.values, return_inverse=True)
        energy = torch.tanh(self.hidden(self.table(ids))) @ self.query  # (U,)
        weights = softmax_by_row(energy[place], column)
        return bag_sums(self.table.weight, column.values, column.offsets, weights)


def softmax_by_row(energy: Tensor, column: Ragged) -> Tensor:
    """(T,) numbers of a column's values -> (T,) weights that sum to 1 in each row."""
    rows, num_rows = column.rows, len(column.offsets) - 1
    greatest = energy.new_zeros(num_rows).scatter_reduce(0, rows, energy.detach(), "amax", include_self=False)
    weights = torch.exp(energy - greatest[rows])
    return weights / weights.new_zeros(num_rows).index_add(0, rows, weights)[rows]
