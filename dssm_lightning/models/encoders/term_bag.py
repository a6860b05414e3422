"""Bags of terms that begin as a search by terms: rare words count more, repetitions less, long texts less."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.text.text_counts import TextCounts
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag, bag_sums, entry_vectors
from dssm_lightning.utils.errors import UserError, is_number, require_at_least
from dssm_lightning.utils.ragged import Column, Ragged


class TermBag(EmbeddingBag):
    r"""A bag whose table starts as random directions times the rarity of each term, for texts with few training pairs.

    A random table must learn from training pairs which words are equal, and which are rare. This one starts with both:
    the row of term t is a random unit vector times √idf(t). Where the query's encoder takes this table
    (``EmbeddingBag`` with ``pooling: sum`` and ``tied_embeddings``), the dot product of two untrained sums is nearly

    .. math:: \sum_t q_t\, d_t\, \mathrm{idf}(t), \qquad d_t = \frac{f_t\,(k_1 + 1)}{f_t + k_1 (1 - b + b\, l / \bar l)}

    with :math:`q_t` and :math:`f_t` the numbers of occurrences in both texts and :math:`l` the length of the
    candidate's. This is BM25. Different rows are nearly orthogonal (Johnson and Lindenstrauss): the dot product of two
    is 0 ± 1/√D. Training then adds to the table what BM25 does not know.

    The vectors of the corpus have a length of about 1 at the start. A candidate tower with ``normalize: false`` keeps
    BM25's scores, in which the length counts; with ``normalize: true``, the score is a cosine. Terms that no text has
    start as zeros.

    Args:
        feature: a text feature of ids that is fitted with ``count_texts: true``.
        output_dim: width D of the table.

        k1: how much repetitions of a term count: 0 ignores them; with a large value, each counts fully.
        b: how much the weights of a long text are reduced, from 0 (not at all) to 1.

        sparse: as in :class:`EmbeddingBag`.

    Raises:
        UserError: the feature has no counts; k1 is negative; b is outside 0 … 1; the width is below 1.

    Sources: Robertson and Zaragoza 2009 (BM25); Bingham and Mannila 2001 (random projections of texts).

    Example:
        >>> import polars as pl
        >>> import torch
        >>> from dssm_lightning.features import Words
        >>> from dssm_lightning.models.encoders import TermBag
        >>> texts = pl.Series(["list the files", "copy the file", "remove the folder"])
        >>> feature = Words(name="text", count_texts=True).fit(texts)
        >>> bag = TermBag(feature, output_dim=1024)
        >>> vectors = bag(feature.encode(texts)).detach()
        >>> (vectors @ bag(feature.encode(pl.Series(["copy it"])))[0]).argmax().item()
        1
    """

    reads_prefixes = False

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 1024,
        *,
        # weights
        k1: float = 1.2,
        b: float = 0.75,
        # table
        sparse: bool = False,
    ) -> None:
        owner = f"encoder of {feature.name!r}"
        require_at_least(owner, "k1", k1, 0)
        if not (is_number(b) and 0 <= b <= 1):
            raise UserError(f"{owner}: b is {b}; it must be from 0 to 1")
        rarity, length, self.mean_length = _statistics(feature, owner)
        super().__init__(feature, output_dim, pooling="sum", sparse=sparse)
        assert self.table is not None
        with torch.no_grad():
            self.table.weight.copy_(F.normalize(self.table.weight) * rarity.sqrt()[:, None])
        self.k1, self.b, self.scale = k1, b, 1 / length

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        table, sparse = entry_vectors(self.table, column)
        length = 1 - self.b + self.b * column.lengths.to(table.dtype) / self.mean_length  # (B,)
        terms, times = counted(column, table.shape[0])
        times = times.to(table.dtype)
        weights = self.scale * (self.k1 + 1) / (times + self.k1 * terms.of_rows(length))  # (T,) of each occurrence
        weights = weights if torch.compiler.is_exporting() else weights * times
        return bag_sums(table, terms.values, terms.offsets, weights, sparse=sparse)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"k1={self.k1:g}, b={self.b:g}"


def counted(column: Ragged, cardinality: int) -> tuple[Ragged, Tensor]:
    """Return the distinct values of each row, ascending, and (T,) int64 how often each occurs in its row.

    An exported program, in which no size may depend on the data, keeps every occurrence of a value.

    Args:
        column: B rows of ids.
        cardinality: a number above every id.

    Example:
        >>> terms, times = counted(Ragged(torch.tensor([5, 7, 5, 5]), torch.tensor([0, 3, 4])), 8)
        >>> terms.values.tolist(), terms.offsets.tolist(), times.tolist()
        ([5, 7, 5], [0, 2, 3], [2, 1, 1])
    """
    pairs = column.rows * cardinality + column.values
    if not torch.compiler.is_exporting():
        pairs, times = torch.unique(pairs, return_counts=True)  # sorted
        lengths = torch.bincount(pairs // cardinality, minlength=len(column.offsets) - 1)
        return Ragged.from_lengths((pairs % cardinality).to(column.values.dtype), lengths), times
    pairs, order = pairs.sort()  # equal pairs of row and id side by side
    starts = pairs != F.pad(pairs, (1, 0), value=-1)[:-1]
    group = starts.cumsum(0) - 1  # (T,)
    sizes = torch.zeros_like(pairs).index_add(0, group, torch.ones_like(pairs))
    return column, torch.zeros_like(pairs).index_copy(0, order, sizes[group])


def _statistics(feature: Feature, owner: str) -> tuple[Tensor, float, float]:
    """Return the idf of each id (V,), the length of a text's vector at the start, and the mean number of ids."""
    counts = feature.text_counts if isinstance(feature, TextCounts) else None
    if counts is None:
        raise UserError(
            f"{owner}: TermBag needs the number of texts that have each term, and the {type(feature).__name__} has no "
            "counts; set count_texts: true for the feature (text features have it), or use EmbeddingBag"
        )
    assert isinstance(feature, TextCounts)
    rows = getattr(feature, "cardinality", 0)
    if len(counts) != rows:
        raise UserError(f"{owner}: text_counts has {len(counts):,} counts for {rows:,} ids; fit the feature again")
    found_in, texts = np.array(counts, np.float64), max(1, feature.num_texts or 0)
    rarity = np.where(found_in > 0, np.log1p((texts - found_in + 0.5) / (found_in + 0.5)), 0.0)
    length = math.sqrt(float(found_in @ rarity) / texts) or 1.0  # the root of the mean of the squares
    return torch.from_numpy(rarity).float(), length, feature.mean_length or 1.0
