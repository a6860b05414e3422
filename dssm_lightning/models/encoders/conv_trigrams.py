"""Convolution over windows of words, each word a bag of letter trigrams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.text.trigrams import WordTrigrams
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, id_table
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.ragged import Column, Ragged


class ConvTrigrams(Encoder):
    r"""Convolutional DSSM: letter trigrams of each word, a convolution over words, tanh, and a maximum over positions.

    .. math:: h_t = \tanh\Big(b + \sum_{o} W_o\, x_{t + o}\Big), \qquad v = \max_t h_t

    where :math:`x_t` counts the trigrams of word t, and o runs from −(window − 1)/2 to (window − 1)/2. Positions before
    the first word and after the last count as zeros. :class:`EmbeddingBag` adds up all trigrams of a text; this encoder
    also uses the order of neighbouring words, and keeps for each component the window with the largest value. The
    paper adds one tanh layer: set a tower's ``output_dim`` with ``output_activation: Tanh``. A row without words gives
    zeros.

    Args:
        feature: a fitted WordTrigrams.
        output_dim: width D of v.
        window: number of words in a window; odd.
        sparse: whether the table's gradient is a sparse tensor, see
            :func:`~dssm_lightning.models.encoders.embedding_bag.bag_sums`.
        init_range: initial range of the table, see :func:`~dssm_lightning.models.encoders.embedding_bag.id_table`.

    Raises:
        UserError: the feature is not a WordTrigrams, a number is below 1, or the window is even.

    Source: Shen et al., "A latent semantic model with convolutional-pooling structure", CIKM 2014,
    doi 10.1145/2661829.2661935.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import WordTrigrams
        >>> from dssm_lightning.models.encoders import ConvTrigrams
        >>> feature = WordTrigrams(name="title", num_buckets=1000)
        >>> ConvTrigrams(feature, output_dim=8)(feature.encode(pl.Series(["the cat sat", "dogs"]))).shape
        torch.Size([2, 8])
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
        require_at_least(f"encoder of {feature.name!r}", "output_dim", output_dim)
        self.table = id_table(feature, window * output_dim, sparse=sparse, init_range=init_range)  # concatenated W_o
        self.bias = nn.Parameter(torch.zeros(output_dim))
        self.window, self.output_dim = window, output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        ends = (column.values == 0).nonzero().squeeze(1)  # (W,) the place of the 0 that ends each word
        words = column.rows[ends]  # (W,) the row of each word
        states = torch.tanh(self.bias + self._windows(self._sums(column, ends), words))  # (W, D)
        pooled = states.new_zeros(column.offsets.shape[0] - 1, self.output_dim)
        return pooled.scatter_reduce(0, words[:, None].expand_as(states), states, "amax", include_self=False)

    def _sums(self, column: Ragged, ends: Tensor) -> Tensor:
        """(W, window · D) sum of the table rows of each word, without id 0, which ends a word."""
        weights = (column.values > 0).to(self.table.weight.dtype)
        return bag_sums(self.table.weight, column.values, F.pad(ends + 1, (1, 0)), weights, sparse=self.table.sparse)

    def _windows(self, sums: Tensor, words: Tensor) -> Tensor:
        """(W, D) sum over each word's window; neighbours in other rows do not count."""
        parts = torch.split(sums, self.output_dim, dim=1)
        total = torch.zeros_like(parts[0])
        for place, part in enumerate(parts):
            shift = place - self.window // 2  # distance to the neighbour that this part belongs to
            same, neighbours = _neighbours(words, part, shift)
            total = total + neighbours * same[:, None]
        return total

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"window={self.window}"


def _neighbours(words: Tensor, part: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Return for each word whether the word ``shift`` places later is in the same row (W,), and its values (W, D)."""
    if torch.compiler.is_exporting():  # the number of words is data, on which neither rolls nor slices may depend
        place = torch.arange(words.shape[0], device=words.device) + shift
        inside = place.clamp(min=0).minimum(words.new_full((), words.shape[0] - 1))
        return (place == inside) & (words == words[inside]), F.embedding(inside, part)
    same = words == words.roll(-shift)
    same[len(same) - shift :] = False  # the roll wraps around at both ends
    same[: max(-shift, 0)] = False
    return same, part.roll(-shift, 0)
