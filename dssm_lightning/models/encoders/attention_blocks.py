"""The blocks of a causal transformer: attention and a feed-forward layer, each added to the states."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

FeedForward = Literal["relu", "swiglu"]


class AttentionBlock(nn.Module):
    r"""One block of :class:`~dssm_lightning.models.encoders.SelfAttention`: two sublayers, with layer norm before each.

    .. math:: x \leftarrow x + f(\mathrm{LN}(x))

    Args:
        width: D of the states.
        num_heads: number of attention heads; divides D.
        hidden_dim: width of the feed-forward layer.
        dropout: probability of dropout on each sublayer's output.
        feed_forward: ``"relu"`` or ``"swiglu"``.

    Example:
        >>> import torch
        >>> AttentionBlock(8, 2, 12, dropout=0.0, feed_forward="swiglu")(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden_dim: int,
        dropout: float,
        feed_forward: FeedForward = "relu",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.input, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden: nn.Module
        if feed_forward == "swiglu":
            self.hidden = SwiGLU(width, hidden_dim)
        else:
            self.hidden = nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(S, L, D) -> (S, L, D); padding is at the right end, where causal attention never reads it."""
        states = states + self.dropout(self._attended(self.attention_norm(states)))
        output: Tensor = states + self.dropout(self.hidden(self.hidden_norm(states)))
        return output

    def _attended(self, states: Tensor) -> Tensor:
        heads = self.input(states).unflatten(-1, (3, self.num_heads, -1))  # (S, L, 3, H, D / H)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (S, H, L, D / H) each
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return mixed


class SwiGLU(nn.Module):
    r"""Feed-forward layer :math:`W_2 (\mathrm{SiLU}(W_1 x) \odot V x)`, without biases: (…, D) -> (…, D).

    It has 3 / 2 of the weights of a layer with ReLU of the same width H.

    Args:
        width: D.
        hidden_dim: H, the width of the product.

    Source: Shazeer, arXiv 2002.05202.

    Example:
        >>> import torch
        >>> SwiGLU(4, 6)(torch.zeros(2, 4)).tolist() == [[0.0] * 4] * 2
        True
    """

    def __init__(self, width: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden_dim, bias=False)  # W_1
        self.input = nn.Linear(width, hidden_dim, bias=False)  # V
        self.output = nn.Linear(hidden_dim, width, bias=False)  # W_2

    def forward(self, states: Tensor) -> Tensor:
        """Return W_2 (SiLU(W_1 x) ⊙ V x)."""
        output: Tensor = self.output(F.silu(self.gate(states)) * self.input(states))
        return output
