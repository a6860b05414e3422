"""Bags of words squeezed into vectors by a fixed random projection."""

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
from dssm_lightning.features.text.text_feature import TextFeature, require_positive
from dssm_lightning.features.text.words_and_letters import pieces
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_
from dssm_lightning.utils.seeding import mix

_WORDS = 4096
"""Distinct words whose vectors are spelt out at a time."""


def johnson_lindenstrauss_dim(num_samples: int, eps: float) -> int:
    """Dimensions in which random projections of ``num_samples`` points keep all squared distances within 1 ± eps.

    ⌊4 ln n / (ε² / 2 − ε³ / 3)⌋, as scikit-learn's ``johnson_lindenstrauss_min_dim``: 1,414 for 10,000 and 0.25.

    Raises:
        ValueError: no samples; an eps outside (0, 1).

    Source: Dasgupta and Gupta, 2003, doi 10.1002/rsa.10073.
    """
    if num_samples < 1:
        raise UserError(f"johnson_lindenstrauss_dim: num_samples is {num_samples}; it must be at least 1")
    if not 0 < eps < 1:
        raise UserError(f"johnson_lindenstrauss_dim: eps is {eps}; it must lie in (0, 1)")
    return int(4 * math.log(num_samples) / (eps**2 / 2 - eps**3 / 3))


@dataclass(frozen=True, kw_only=True)
class BagOfWordsRandomProjection(TextFeature):
    """The sum of fixed random vectors of length 1, one for each word: (B, dimension) float32, never trained.

    A word's vector is a Gaussian direction that follows from the word and the seed alone: no table is stored, no word
    is unknown, and texts keep the distances of their bags of words up to a factor that
    :func:`johnson_lindenstrauss_dim` bounds. The column holds texts, or lists of word ids (integers), in which 0 is
    padding: [10, 50, 100] and [10, 50, 100, 0] are the same bag, in any order.

    It needs an encoder that learns something, such as ``Linear``, or a tower with layers; by default it is taken as it
    is, which is a bag-of-words search without training.
    """

    dimension: int = 512
    """Length of the vectors."""
    seed: int = 0
    """Which vectors; models with other seeds do not understand each other's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, dimension=self.dimension)

    @property
    def width(self) -> int:
        """Floats for each row."""
        return self.dimension

    def fit(self, column: pl.Series) -> BagOfWordsRandomProjection:
        """Itself: word ids teach nothing. Of texts, the Unicode tables that they were split with are noted."""
        return self if column.dtype.is_nested() else super().fit(column)

    def encode(self, column: pl.Series) -> Tensor:
        """Texts, or lists of word ids, (B,) -> (B, dimension) float32; no words are a vector of zeros.

        Raises:
            ValueError: the column holds neither; or (unless allowed) an empty text.
        """
        if not column.dtype.is_nested():
            encoded = super().encode(column)
            assert isinstance(encoded, Tensor)
            return encoded
        values, offsets = flatten(self, column)
        if not (values.dtype.is_integer() or (values.dtype == pl.String and len(values) == 0)):
            raise UserError(
                f"feature {self.name!r}: column {self.source_column!r} holds lists of {values.dtype}; word ids are "
                "integers, and texts are no lists"
            )
        ids = values.cast(pl.Int64).to_numpy()
        words = np.cumsum(np.concatenate([[0], ids != 0]))  # before each value
        return self._sums(mix64_(ids[ids != 0].astype(np.uint64)), words[offsets.numpy()])

    def _encode(self, texts: pl.Series) -> Tensor:
        return torch.cat([self._sums(*word_hashes(letters)) for letters in pieces(texts)])

    def _sums(self, words: HashKeys, starts: NDArray[np.int64]) -> Tensor:
        """(B, dimension) the sums of the vectors of words (W,), each row's from ``starts`` (B + 1,) on."""
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
        """(U, dimension) the unit vectors of words (U,), by the Box–Muller transform of hashes."""
        pairs = np.arange((self.dimension + 1) // 2 * 2, dtype=np.uint64) * np.uint64(GOLDEN)
        hashes = mix64_(mix64_(words ^ np.uint64(mix(self.seed)))[:, None] + pairs[None])
        uniform = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
        radius, angle = np.sqrt(-2 * np.log1p(-uniform[:, 0::2])), 2 * np.pi * uniform[:, 1::2]
        normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], 1)[:, : self.dimension]
        unit: NDArray[np.float32] = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32)
        return unit
