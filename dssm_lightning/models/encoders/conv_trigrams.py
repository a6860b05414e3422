"""Windows of words: the convolutional sibling of the bag of letter trigrams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.text.trigrams import WordTrigrams
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, id_table
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class ConvTrigrams(Encoder):
    r"""Letter trigrams of each word, windows of words, tanh, and the largest value over all positions: CDSSM.

    .. math:: h_t = \tanh\Big(b + \sum_{o} W_o\, x_{t + o}\Big), \qquad v = \max_t h_t

    where :math:`x_t` counts the trigrams of word t, o runs from −(window − 1)/2 to (window − 1)/2, and there is nothing
    before the first word and after the last. Where :class:`EmbeddingBag` adds up all trigrams of a text, this one knows
    which words stand side by side, and keeps for each of its values only the window that says most. One tanh layer
    follows in the paper: a tower's ``output_dim`` with ``output_activation: Tanh``.

    A row without words gives zeros.

    Args:
        feature: a fitted WordTrigrams.
        output_dim: width D of v.
        window: how many words are seen at once; odd.
        sparse: whether the table's gradient is a sparse tensor, see
            :func:`~dssm_lightning.models.encoders.embedding_bag.bag_sums`.
        init_range: how the table starts, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Raises:
        ValueError: a feature of another kind; a window that is even or below 1.

    Source: Shen et al., "A latent semantic model with convolutional-pooling structure", CIKM 2014,
    doi 10.1145/2661829.2661935.
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 300,
        window: int = 3,
        sparse: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(feature, WordTrigrams):
            raise UserError(f"ConvTrigrams encodes WordTrigrams features; {feature.name!r} is {type(feature).__name__}")
        if window < 1 or window % 2 == 0:
            raise UserError(f"encoder of {feature.name!r}: window is {window}; it must be odd and at least 1")
        if output_dim < 1:
            raise UserError(f"encoder of {feature.name!r}: output_dim is {output_dim}; it must be at least 1")
        self.table = id_table(feature, window * output_dim, sparse=sparse, init_range=init_range)  # W_o side by side
        self.bias = nn.Parameter(torch.zeros(output_dim))
        self.window, self.output_dim = window, output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        words = column.rows[column.values == 0]  # (W,) the row of each word, which a 0 ends
        states = torch.tanh(self.bias + self._windows(self._sums(column), words))  # (W, D)
        pooled = states.new_zeros(len(column.offsets) - 1, self.output_dim)
        return pooled.scatter_reduce(0, words[:, None].expand_as(states), states, "amax", include_self=False)

    def _sums(self, column: Ragged) -> Tensor:
        """(W, window · D) the table rows of each word, added up; its end, id 0, has no weight."""
        ends = (column.values == 0).nonzero().squeeze(1) + 1
        weights = (column.values > 0).to(self.table.weight.dtype)
        return bag_sums(self.table.weight, column.values, F.pad(ends, (1, 0)), weights, sparse=self.table.sparse)

    def _windows(self, sums: Tensor, words: Tensor) -> Tensor:
        """(W, D) for each word the sum over its window; neighbours of other rows do not count."""
        parts = torch.split(sums, self.output_dim, dim=1)
        total = torch.zeros_like(parts[0])
        for place, part in enumerate(parts):
            shift = place - self.window // 2  # of the neighbour that this part belongs to
            same = words == words.roll(-shift)
            same[len(same) - shift :] = False  # what was rolled in from the other end
            same[: max(-shift, 0)] = False
            total = total + part.roll(-shift, 0) * same[:, None]
        return total

    def extra_repr(self) -> str:
        """What distinguishes this encoder from others."""
        return f"window={self.window}"
