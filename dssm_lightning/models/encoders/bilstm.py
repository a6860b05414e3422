"""Sequences of ids read in both directions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import id_table
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class BiLSTM(Encoder):
    """Embedded tokens through a bidirectional LSTM; the mean of its states over a row's own tokens, or another pooling.

    Rows are padded to the longest of the batch and packed, so that padding is never read: a row gives the same vector
    alone and in any batch. A row without tokens gives zeros (before the last layer, if there is one).

    Args:
        feature: a fitted feature of ragged ids whose order means something, such as Tokens or Words.
        output_dim: width of a last linear layer; None = there is none, and the width is 2 · hidden_dim.
        embedding_dim: width of the token table.
        hidden_dim: width of the states of each direction.
        num_layers: number of LSTM layers.
        dropout: share of the embedded tokens' values, and of those between the layers, that training drops.
        pooling: what is taken of the states: their "mean", their "max", or the "last" that each direction comes to (the
            forward one's at the last token, the backward one's at the first).

    Raises:
        ValueError: a width or number below 1, a dropout outside [0, 1), another pooling, or a feature without ids.
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int | None = None,
        embedding_dim: int = 128,
        hidden_dim: int = 128,
        num_layers: int = 1,
        dropout: float = 0.0,
        pooling: Literal["mean", "max", "last"] = "mean",
    ) -> None:
        super().__init__()
        sizes = {
            "output_dim": output_dim,
            "embedding_dim": embedding_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
        }
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise UserError(f"encoder of {feature.name!r}: {name} is {size}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise UserError(f"encoder of {feature.name!r}: dropout is {dropout}; it must lie in [0, 1)")
        if pooling not in ("mean", "max", "last"):
            raise UserError(f"encoder of {feature.name!r}: pooling is {pooling!r}; it can be mean, max, last")
        self.table = id_table(feature, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        between = dropout if num_layers > 1 else 0.0  # a single layer has no between, and PyTorch warns of it
        self.lstm = nn.LSTM(
            embedding_dim, hidden_dim, num_layers, batch_first=True, dropout=between, bidirectional=True
        )
        self.output: nn.Module = nn.Identity() if output_dim is None else nn.Linear(2 * hidden_dim, output_dim)
        self.output_dim = 2 * hidden_dim if output_dim is None else output_dim
        self.pooling = pooling

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, output_dim)."""
        assert isinstance(column, Ragged)
        lengths = column.lengths
        steps = torch.arange(max(int(lengths.max()), 1), device=lengths.device)
        real = steps < lengths[:, None]  # (B, L)
        ids = column.values.new_zeros(real.shape).masked_scatter(real, column.values)
        # What is packed must not be empty: a row without tokens reads one padding token, whose state is not used.
        packed = pack_padded_sequence(
            self.dropout(self.table(ids)), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast("cpu", enabled=False):  # many CPUs have no LSTM of half precision: oneDNN raises
            packed_states, (final, _) = self.lstm(packed)  # final: (2 · layers, B, hidden)
        last = final[-2:].movedim(0, 1).flatten(1)  # (B, 2 · hidden) of the last layer
        states, _ = pad_packed_sequence(packed_states, batch_first=True)  # (B, L, 2 · hidden)
        pooled: Tensor = self.output(self._pool(states, real, last))
        return pooled

    def _pool(self, states: Tensor, real: Tensor, last: Tensor) -> Tensor:
        if self.pooling == "last":
            return last.masked_fill(~real.any(1, keepdim=True), 0.0)
        if self.pooling == "mean":
            return states.masked_fill(~real[..., None], 0.0).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        greatest = states.masked_fill(~real[..., None], float("-inf")).amax(1)
        return greatest.masked_fill(~real.any(1, keepdim=True), 0.0)
