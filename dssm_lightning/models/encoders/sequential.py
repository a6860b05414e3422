"""Causal encoders of histories: one pass over a sequence gives a state for each of its events.

A state never depends on a later entry. If the events of a query share a batch (``batch_by: query``), the query's
sequence is therefore read once, and event i takes the state after its own last entry. Evaluation reads one sequence for
each query.
"""

from __future__ import annotations

from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.history import History
from dssm_lightning.models.encoders.attention_blocks import AttentionBlock, FeedForward
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import entry_table, padded_entries
from dssm_lightning.models.encoders.recurrent_layers import gru_states
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_fraction
from dssm_lightning.utils.ragged import Column, Prefixes, Ragged


class SelfAttention(Encoder):
    r"""Causal transformer: its state after a history's last entry (SASRec).

    .. math:: x_i = e_i + p_i, \qquad x \leftarrow x + \mathrm{attention}(\mathrm{LN}(x)), \qquad
        x \leftarrow x + W_2 \, \mathrm{ReLU}(W_1 \, \mathrm{LN}(x))

    for ``num_layers`` blocks and a final layer norm, with entries :math:`e` and learnable positions :math:`p`, counted
    from the sequence's first entry. A learnable start vector precedes the first entry; its state encodes an empty
    history.

    As in the paper, the table can be shared with the candidate's id by ``tied_embeddings``. SwiGLU replaces the ReLU by
    a gated layer: :class:`~dssm_lightning.models.encoders.attention_blocks.SwiGLU` has the formula.

    Args:
        feature: a fitted History with ``max_length``, which is the number of positions.
        output_dim: width D of the table and of all layers; for a history of whole candidates, the candidate tower's
            ``output_dim``.

        num_layers: number of blocks.
        num_heads: number of attention heads in each block; must divide D.
        hidden_dim: width of a block's feed-forward layer; None = D. eSASRec has 4 D.
        dropout: probability of dropout on the entries and on each sublayer's output.
        feed_forward: ``"relu"``, or ``"swiglu"``: a gated layer with 3 / 2 of the weights.

        init_range: initial range of the table, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Sources: Kang and McAuley, arXiv 1808.09781 (SASRec); layer norm before each sublayer, arXiv 2002.04745;
    SwiGLU, arXiv 2002.05202, in this place arXiv 2508.06450 (eSASRec).

    Raises:
        UserError: the feature is not a History of one id for each entry, or has no ``max_length``; the heads do not
            divide the width; a number is below 1, or the dropout is outside [0, 1); an unknown feed-forward layer.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Categorical, History
        >>> from dssm_lightning.models.encoders import SelfAttention
        >>> film = Categorical(name="film", vocabulary=("Alien", "Heat", "Up"))
        >>> seen = History(name="seen", of="film", max_length=10).bind(film)
        >>> SelfAttention(seen, output_dim=8, num_heads=2)(seen.encode(pl.Series([["Up", "Heat"], []]))).shape
        torch.Size([2, 8])
    """

    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 64,
        *,
        # layers
        num_layers: int = 2,
        num_heads: int = 1,
        hidden_dim: int | None = None,
        dropout: float = 0.2,
        feed_forward: FeedForward = "relu",
        # table
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        history = _history(self, feature, {"num_layers": num_layers, "num_heads": num_heads})
        require_fraction(f"encoder of {history.name!r}", "dropout", dropout)
        require_choice(f"encoder of {history.name!r}", "feed_forward", feed_forward, get_args(FeedForward))
        if history.max_length is None:
            raise UserError(
                f"encoder of {history.name!r}: SelfAttention has a vector for each position, so set the History's "
                "max_length"
            )
        if output_dim % num_heads:
            raise UserError(
                f"encoder of {history.name!r}: output_dim is {output_dim} and num_heads is {num_heads}; output_dim "
                "must be a multiple of num_heads"
            )
        self.table = entry_table(history, output_dim, init_range=init_range)
        self.position = nn.Parameter(torch.randn(history.max_length + 1, output_dim) * 0.02)
        self.start = nn.Parameter(torch.randn(output_dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            AttentionBlock(output_dim, num_heads, hidden_dim or output_dim, dropout, feed_forward)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        prefixes = as_prefixes(column)
        entries = padded_entries(self.table, prefixes.sequences)  # (S, L, D)
        start = self.start.expand(entries.shape[0], 1, -1)
        states = self.dropout(torch.cat([start, entries], dim=1) + self.position[: entries.shape[1] + 1])
        for each in self.blocks:
            states = each(states)
        picked: Tensor = self.norm(states[prefixes.sequence, prefixes.length])
        return picked


class GRU(Encoder):
    """Gated recurrent unit: its state after a history's last entry (GRU4Rec).

    The learnable initial state encodes an empty history.

    Args:
        feature: a fitted History.
        output_dim: width D of the table and of the states; for a history of whole candidates, the candidate tower's
            ``output_dim``.
        num_layers: number of layers; each reads the states of the previous layer.
        dropout: probability of dropout on the entries and between layers.
        init_range: initial range of the table, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Source: Hidasi et al., arXiv 1511.06939 (GRU4Rec).

    Raises:
        UserError: the feature is not a History of one id for each entry; a number is below 1, or the dropout is outside
            [0, 1).

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Categorical, History
        >>> from dssm_lightning.models.encoders import GRU
        >>> seen = History(name="seen", of="film").bind(Categorical(name="film", vocabulary=("Alien", "Heat", "Up")))
        >>> GRU(seen, output_dim=8)(seen.encode(pl.Series([["Up", "Heat"], []]))).shape
        torch.Size([2, 8])
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
        require_fraction(f"encoder of {history.name!r}", "dropout", dropout)
        self.table = entry_table(history, output_dim, init_range=init_range)
        self.start = nn.Parameter(torch.zeros(num_layers, output_dim))
        self.dropout = nn.Dropout(dropout)
        between = dropout if num_layers > 1 else 0.0  # PyTorch warns of dropout with a single layer
        self.gru = nn.GRU(output_dim, output_dim, num_layers, batch_first=True, dropout=between)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        prefixes = as_prefixes(column)
        entries = self.dropout(padded_entries(self.table, prefixes.sequences))  # (S, L, D)
        start = self.start[:, None].expand(-1, entries.shape[0], -1).contiguous()  # (layers, S, D)
        states = start[-1][:, None]
        if torch.compiler.is_exporting():
            states = torch.cat([states, gru_states(self.gru, entries, start)], dim=1)
        elif entries.shape[1]:
            states = torch.cat([states, self.gru(entries, start)[0]], dim=1)  # (S, 1 + L, D)
        return states[prefixes.sequence, prefixes.length]


def as_prefixes(column: Column) -> Prefixes:
    """Return a history as prefixes: B rows become B sequences, each with one event that sees all entries."""
    if isinstance(column, Prefixes):
        return column
    assert isinstance(column, Ragged)
    lengths = column.lengths
    return Prefixes(column, torch.arange(lengths.shape[0], device=lengths.device), lengths, torch.zeros_like(lengths))


def _history(encoder: Encoder, feature: Feature, sizes: dict[str, int]) -> History:
    name = type(encoder).__name__
    if not isinstance(feature, History):
        raise UserError(f"{name} encodes History features; {feature.name!r} is {type(feature).__name__}")
    if not feature.has_one_id_each:
        raise UserError(
            f"{name} of {feature.name!r} reads one id for each entry, but {feature.of!r} has several; use BiLSTM"
        )
    for size, value in sizes.items():
        require_at_least(f"encoder of {feature.name!r}", size, value)
    return feature
