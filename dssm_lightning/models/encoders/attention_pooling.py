"""Weighted means of embedded ids, with learnable weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, id_table
from dssm_lightning.utils.errors import require_at_least
from dssm_lightning.utils.ragged import Column, Ragged


class AttentionPooling(Encoder):
    r"""Weighted mean of a text's embedded tokens, with learnable weights: content words can weigh more than *the*.

    .. math:: v = \sum_t \alpha_t e_t, \qquad \alpha = \mathrm{softmax}_t\big(u^\top \tanh(A e_t + b)\big)

    over the embeddings :math:`e_t` of a row's own tokens. The order of the tokens does not matter. u starts at zero, so
    that the encoder starts as :class:`EmbeddingBag` with ``pooling: mean``. A row without tokens gives zeros.

    Args:
        feature: a fitted feature of ragged ids, such as Words, Tokens or HashedTrigrams.
        output_dim: width D of the table.
        hidden_dim: width of the layer A.

    Raises:
        UserError: a width is below 1, or the feature has no ids.

    Source: Yang et al., "Hierarchical attention networks", NAACL 2016 (its word attention).

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import HashedWords
        >>> from dssm_lightning.models.encoders import AttentionPooling
        >>> feature = HashedWords(name="title", num_buckets=100)
        >>> AttentionPooling(feature, output_dim=8)(feature.encode(pl.Series(["the cat", "dogs"]))).shape
        torch.Size([2, 8])
    """

    def __init__(self, feature: Feature, output_dim: int = 128, hidden_dim: int = 64) -> None:
        super().__init__()
        require_at_least(f"encoder of {feature.name!r}", "hidden_dim", hidden_dim)
        self.table = id_table(feature, output_dim)
        self.hidden = nn.Linear(output_dim, hidden_dim)
        self.query = nn.Parameter(torch.zeros(hidden_dim))
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        if torch.compiler.is_exporting():  # onnxruntime finds distinct values of int64 only
            weights = softmax_by_row(self._energy(column.values), column)
        else:  # the weight of each distinct token is computed once
            ids, place = torch.unique(column.values, return_inverse=True)
            weights = softmax_by_row(self._energy(ids)[place], column)
        return bag_sums(self.table.weight, column.values, column.offsets, weights)

    def _energy(self, ids: Tensor) -> Tensor:
        """(U,) ids -> (U,) logits of their weights."""
        return torch.tanh(self.hidden(self.table(ids))) @ self.query


def softmax_by_row(energy: Tensor, column: Ragged) -> Tensor:
    """(T,) one number for each value of the column -> (T,) weights that sum to 1 in each row."""
    rows, num_rows = column.rows, column.offsets.shape[0] - 1
    greatest = energy.new_zeros(num_rows).scatter_reduce(0, rows, energy.detach(), "amax", include_self=False)
    weights = torch.exp(energy - greatest[rows])
    return weights / weights.new_zeros(num_rows).index_add(0, rows, weights)[rows]
