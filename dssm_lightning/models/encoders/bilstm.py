"""Bidirectional LSTM over sequences of ids."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import id_table, padded_entries
from dssm_lightning.models.encoders.recurrent_layers import lstm_states
from dssm_lightning.utils.errors import require_at_least, require_choice, require_fraction
from dssm_lightning.utils.ragged import Column, Ragged

Pooling = Literal["mean", "max", "last"]


class BiLSTM(Encoder):
    """Bidirectional LSTM over embedded tokens, pooled over a row's own tokens.

    Rows are padded to the longest row of the batch and packed, so that the LSTM never reads padding: a row's vector
    does not depend on the batch. A row without tokens gives zeros before the output layer.

    Args:
        feature: a fitted feature of ragged ids in a meaningful order, such as Tokens or Words.
        output_dim: width of a final linear layer; None = no such layer, and the width is 2 · hidden_dim.

        embedding_dim: width of the token table.
        hidden_dim: width of the states of each direction.
        num_layers: number of LSTM layers.
        dropout: probability of dropping values of the embedded tokens and between the layers, in training.
        pooling: "mean" or "max" of the states, or "last": the final state of each direction (the forward LSTM's at the
            last token, the backward LSTM's at the first).

    Raises:
        UserError: a width or number is below 1, the dropout is outside [0, 1), the pooling is unknown, or the feature
            has no ids.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import HashedWords
        >>> from dssm_lightning.models.encoders import BiLSTM
        >>> feature = HashedWords(name="title", num_buckets=100)
        >>> encoder = BiLSTM(feature, embedding_dim=4, hidden_dim=3)
        >>> encoder(feature.encode(pl.Series(["the cat", "dogs"]))).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int | None = None,
        *,
        embedding_dim: int = 128,
        hidden_dim: int = 128,
        num_layers: int = 1,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        sizes = {
            "output_dim": output_dim,
            "embedding_dim": embedding_dim,
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
        }
        owner = f"encoder of {feature.name!r}"
        for name, size in sizes.items():
            require_at_least(owner, name, size)
        require_fraction(owner, "dropout", dropout)
        require_choice(owner, "pooling", pooling, get_args(Pooling))
        self.table = id_table(feature, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        between = dropout if num_layers > 1 else 0.0  # PyTorch warns of dropout with a single layer
        self.lstm = nn.LSTM(
            embedding_dim, hidden_dim, num_layers, batch_first=True, dropout=between, bidirectional=True
        )
        self.output: nn.Module = nn.Identity() if output_dim is None else nn.Linear(2 * hidden_dim, output_dim)
        self.output_dim = 2 * hidden_dim if output_dim is None else output_dim
        self.pooling = pooling

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, output_dim)."""
        assert isinstance(column, Ragged)
        if torch.compiler.is_exporting():
            return self._exported(column)
        lengths = column.lengths
        steps = torch.arange(max(int(lengths.max()), 1), device=lengths.device)
        real = steps < lengths[:, None]  # (B, L)
        ids = column.values.new_zeros(real.shape).masked_scatter(real, column.values)
        # Packed rows must not be empty: a row without tokens reads one padding token, whose state is not used.
        packed = pack_padded_sequence(
            self.dropout(self.table(ids)), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast("cpu", enabled=False):  # oneDNN has no LSTM of half precision on many CPUs
            packed_states, (final, _) = self.lstm(packed)  # final: (2 · layers, B, hidden)
        last = final[-2:].movedim(0, 1).flatten(1)  # (B, 2 · hidden) of the last layer
        states, _ = pad_packed_sequence(packed_states, batch_first=True)  # (B, L, 2 · hidden)
        pooled: Tensor = self.output(self._pool(states, real, last))
        return pooled

    def _exported(self, column: Ragged) -> Tensor:
        """The same without packed sequences, which no exported program can hold."""
        entries = padded_entries(self.table, column)  # (B, L, embedding_dim)
        real = torch.arange(entries.shape[1], device=entries.device) < column.lengths[:, None]
        lengths = column.lengths.clamp(min=1)
        states = lstm_states(self.lstm, entries, lengths)
        forward, backward = states.chunk(2, dim=-1)
        last = forward[torch.arange(lengths.shape[0], device=lengths.device), lengths - 1]  # (B, hidden)
        pooled: Tensor = self.output(self._pool(states, real, torch.cat([last, backward[:, 0]], dim=-1)))
        return pooled

    def _pool(self, states: Tensor, real: Tensor, last: Tensor) -> Tensor:
        if self.pooling == "last":
            return last.masked_fill(~real.any(1, keepdim=True), 0.0)
        if self.pooling == "mean":
            return states.masked_fill(~real[..., None], 0.0).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        greatest = states.masked_fill(~real[..., None], float("-inf")).amax(1)
        return greatest.masked_fill(~real.any(1, keepdim=True), 0.0)
