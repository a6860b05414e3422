"""Bags of words as vectors of a fixed random projection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.features.raw_columns import flatten
from dssm_lightning.features.text.ngrams import word_hashes
from dssm_lightning.features.text.text_feature import TextFeature, require_sizes
from dssm_lightning.features.text.words_and_letters import pieces
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_
from dssm_lightning.utils.seeding import mix

_WORDS = 4096
"""Number of distinct words whose vectors are computed at a time."""


def johnson_lindenstrauss_dim(num_samples: int, eps: float) -> int:
    """Return a dimension in which random projections of ``num_samples`` points keep squared distances within 1 ± eps.

    The dimension is ⌊4 ln n / (ε² / 2 − ε³ / 3)⌋, as in scikit-learn's ``johnson_lindenstrauss_min_dim``. Source:
    Dasgupta and Gupta, 2003, doi 10.1002/rsa.10073.

    Raises:
        UserError: ``num_samples`` is below 1, or ``eps`` is outside (0, 1).

    Example:
        >>> johnson_lindenstrauss_dim(10_000, 0.25)
        1414
    """
    require_at_least("johnson_lindenstrauss_dim", "num_samples", num_samples)
    if not 0 < eps < 1:
        raise UserError(f"johnson_lindenstrauss_dim: eps is {eps}; it must lie in (0, 1)")
    return int(4 * math.log(num_samples) / (eps**2 / 2 - eps**3 / 3))


@dataclass(frozen=True, kw_only=True)
class BagOfWordsRandomProjection(TextFeature):
    """The sum of one fixed random unit vector for each word: (B, dimension) float32, never trained.

    A word's vector has a Gaussian direction that depends on the word and the seed only. No table is stored and no word
    is unknown. The distances between bags of words are kept up to a factor that :func:`johnson_lindenstrauss_dim`
    bounds. The column holds texts, or lists of word ids (integers) in which 0 is padding: [10, 50, 100] and
    [100, 50, 10, 0] are the same bag.

    The default encoder passes the vectors on unchanged, which is a bag-of-words search without training. To train,
    use an encoder such as ``Linear``, or a tower with layers.

    Example:
        >>> import polars as pl
        >>> feature = BagOfWordsRandomProjection(name="title", dimension=64)
        >>> toy, story, both = feature.encode(pl.Series(["toy", "story", "Story, toy"]))
        >>> torch.allclose(both, toy + story), round(toy.norm().item(), 3)
        (True, 1.0)
    """

    dimension: int = 512
    """Length of the vectors."""
    seed: int = 0
    """Seed of the random vectors. Vectors of different seeds are not comparable."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, dimension=self.dimension)

    @property
    def width(self) -> int:
        """Number of floats in each row."""
        return self.dimension

    def fit(self, column: pl.Series) -> BagOfWordsRandomProjection:
        """Return the feature; for texts, return a copy with the version of the Unicode tables."""
        return self if column.dtype.is_nested() else super().fit(column)

    def encode(self, column: pl.Series) -> Tensor:
        """Encode texts or lists of word ids (B,) as (B, dimension) float32; a row without words becomes zeros.

        Raises:
            UserError: the column holds neither texts nor lists of word ids, or, with ``on_empty="error"``, a text is
                empty.
        """
        if not column.dtype.is_nested():
            encoded = super().encode(column)
            assert isinstance(encoded, Tensor)
            return encoded
        values, offsets = flatten(self, column)
        if not (values.dtype.is_integer() or (values.dtype == pl.String and len(values) == 0)):
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds lists of {values.dtype}; it must hold texts or "
                "lists of integer word ids"
            )
        ids = values.cast(pl.Int64).to_numpy()
        words = np.cumsum(np.concatenate([[0], ids != 0]))  # number of words before each value
        return self._sums(mix64_(ids[ids != 0].astype(np.uint64)), words[offsets.numpy()])

    def _encode(self, texts: pl.Series) -> Tensor:
        return torch.cat([self._sums(*word_hashes(letters)) for letters in pieces(texts)])

    def _sums(self, words: HashKeys, starts: NDArray[np.int64]) -> Tensor:
        """Sum the vectors of the words (W,) of each row, whose words begin at ``starts`` (B + 1,): (B, dimension)."""
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        distinct, place = np.unique(words, return_inverse=True)
        total = torch.zeros(len(starts) - 1, self.dimension)
        for first in range(0, len(distinct), _WORDS):
            chosen = np.flatnonzero((place >= first) & (place < first + _WORDS))
            vectors = torch.from_numpy(self._vectors(distinct[first : first + _WORDS]))
            ids, bags = torch.from_numpy(place[chosen] - first), np.searchsorted(rows[chosen], np.arange(len(starts)))
            total += torch.nn.functional.embedding_bag(
                ids, vectors, torch.from_numpy(bags), mode="sum", include_last_offset=True
            )
        return total

    def _vectors(self, words: HashKeys) -> NDArray[np.float32]:
        """Compute the unit vectors (U, dimension) of words (U,) by the Box–Muller transform of hashes."""
        pairs = np.arange((self.dimension + 1) // 2 * 2, dtype=np.uint64) * np.uint64(GOLDEN)
        hashes = mix64_(mix64_(words ^ np.uint64(mix(self.seed)))[:, None] + pairs[None])
        uniform = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 0::2])), 2 * np.pi * uniform[:, 1::2]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, : self.dimension]
        unit: NDArray[np.float32] = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
        return unit
