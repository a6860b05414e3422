"""Histories read from the old to the new: one pass over a sequence gives what each of its events had seen.

A state never depends on a later entry. Queries whose events share a batch (``batch_by: query``) are therefore read
once, and event i takes the state after the last entry that it has seen. Evaluation reads a sequence for each query.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.history import History
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import entry_table, padded_entries
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Prefixes, Ragged


class SelfAttention(Encoder):
    r"""The state of a causal transformer after a history's last entry: SASRec.

    .. math:: x_i = e_i + p_i, \qquad x \leftarrow x + \mathrm{attention}(\mathrm{LN}(x)), \qquad
        x \leftarrow x + W_2 \, \mathrm{ReLU}(W_1 \, \mathrm{LN}(x))

    for ``num_layers`` blocks and a last layer norm, with entries :math:`e` and learnt positions :math:`p`, counted from
    the sequence's first entry. Before that stands a learnt start, which is the state of who has seen nothing.

    Share the table with the candidate's id by ``tied_embeddings``, and the state is compared with the very vectors that
    it was computed from, as in the paper.

    Args:
        feature: a fitted History with ``max_length``, which sizes the table of positions.
        output_dim: width D of the table and of all layers; for a history of whole candidates, the candidate tower's.
        num_layers: blocks.
        num_heads: attention heads in each block; they share D.
        hidden_dim: width between the two linear layers of a block; None = D.
        dropout: probability, on the entries and on what each sublayer adds.
        init_range: how the table starts, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Source: Kang and McAuley, arXiv 1808.09781 (SASRec); layer norm before each sublayer, arXiv 2002.04745.

    Raises:
        ValueError: a feature that is no History, or has no ``max_length``; a width that the heads do not divide; a
            number below 1, or a dropout outside [0, 1).
    """

    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 1,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        history = _history(self, feature, {"num_layers": num_layers, "num_heads": num_heads})
        _check_dropout(history, dropout)
        if history.max_length is None:
            raise UserError(
                f"encoder of {history.name!r}: SelfAttention has a vector for each position, so the History needs a "
                "max_length"
            )
        if output_dim % num_heads:
            raise UserError(
                f"encoder of {history.name!r}: output_dim {output_dim} cannot be shared by num_heads {num_heads}; take "
                "a multiple of the heads"
            )
        self.table = entry_table(history, output_dim, init_range=init_range)
        self.position = nn.Parameter(torch.randn(history.max_length + 1, output_dim) * 0.02)
        self.start = nn.Parameter(torch.randn(output_dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(output_dim, num_heads, hidden_dim or output_dim, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        prefixes = as_prefixes(column)
        entries = padded_entries(self.table, prefixes.sequences)  # (S, L, D)
        start = self.start.expand(len(entries), 1, -1)
        states = self.dropout(torch.cat([start, entries], dim=1) + self.position[: entries.shape[1] + 1])
        for block in self.blocks:
            states = block(states)
        picked: Tensor = self.norm(states[prefixes.sequence, prefixes.length])
        return picked


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.input, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(S, L, D) -> (S, L, D); what stands to the right is padding, which causal attention never reads."""
        heads = self.input(self.attention_norm(states)).unflatten(-1, (3, self.num_heads, -1))  # (S, L, 3, H, D / H)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (S, H, L, D / H) each
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        summed: Tensor = states + self.dropout(self.hidden(self.hidden_norm(states)))
        return summed


class GRU(Encoder):
    """The state of a gated recurrent unit after a history's last entry: GRU4Rec.

    Who has seen nothing gets the state that it starts from, which is learnt.

    Args:
        feature: a fitted History.
        output_dim: width D of the table and of the states; for a history of whole candidates, the candidate tower's.
        num_layers: layers, each over the states of the one before.
        dropout: probability, on the entries and between layers.
        init_range: how the table starts, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Source: Hidasi et al., arXiv 1511.06939 (GRU4Rec).

    Raises:
        ValueError: a feature that is no History; a number below 1, or a dropout outside [0, 1).
    """

    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        history = _history(self, feature, {"num_layers": num_layers})
        _check_dropout(history, dropout)
        self.table = entry_table(history, output_dim, init_range=init_range)
        self.start = nn.Parameter(torch.zeros(num_layers, output_dim))
        self.dropout = nn.Dropout(dropout)
        between = dropout if num_layers > 1 else 0.0  # a single layer has no between, and PyTorch warns of it
        self.gru = nn.GRU(output_dim, output_dim, num_layers, batch_first=True, dropout=between)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        prefixes = as_prefixes(column)
        entries = self.dropout(padded_entries(self.table, prefixes.sequences))  # (S, L, D)
        start = self.start[:, None].expand(-1, len(entries), -1).contiguous()  # (layers, S, D)
        states = start[-1][:, None]
        if entries.shape[1]:
            states = torch.cat([states, self.gru(entries, start)[0]], dim=1)  # (S, 1 + L, D)
        return states[prefixes.sequence, prefixes.length]


def as_prefixes(column: Column) -> Prefixes:
    """A history in either form as prefixes: B rows of their own are B sequences, each seen whole."""
    if isinstance(column, Prefixes):
        return column
    assert isinstance(column, Ragged)
    lengths = column.lengths
    return Prefixes(column, torch.arange(len(lengths), device=lengths.device), lengths, lengths.new_zeros(len(lengths)))


def _history(encoder: Encoder, feature: Feature, sizes: dict[str, int]) -> History:
    name = type(encoder).__name__
    if not isinstance(feature, History):
        raise UserError(f"{name} encodes History features; {feature.name!r} is {type(feature).__name__}")
    if not feature.has_one_id_each:
        raise UserError(
            f"{name} of {feature.name!r} reads one id for each entry, and {feature.of!r} has any number: take BiLSTM"
        )
    for size, value in sizes.items():
        if value < 1:
            raise UserError(f"encoder of {feature.name!r}: {size} is {value}; it must be at least 1")
    return feature


def _check_dropout(feature: Feature, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise UserError(f"encoder of {feature.name!r}: dropout is {dropout}; it must lie in [0, 1)")
