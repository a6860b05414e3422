"""Bags of words as vectors of a fixed random projection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.raw_columns import flatten
from dssm_lightning.features.raw_values import plain
from dssm_lightning.features.readings import Reading, ReadValue, reading_of
from dssm_lightning.features.text.ngrams import word_hashes
from dssm_lightning.features.text.text_feature import TextFeature, require_sizes
from dssm_lightning.features.text.words_and_letters import Letters
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_
from dssm_lightning.utils.ragged_arrays import ArrayColumn
from dssm_lightning.utils.seeding import mix

if TYPE_CHECKING:
    import polars as pl

_WORDS = 4096
"""Number of distinct words whose vectors are computed at a time."""
_AT_ONCE = 1024
"""Number of words whose vectors are summed at a time, so that they fit into the cache."""


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
        >>> import torch
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

    def encode_array(self, column: pl.Series) -> ArrayColumn:
        """Encode texts or lists of word ids (B,) as (B, dimension) float32; a row without words becomes zeros.

        Raises:
            UserError: the column holds neither texts nor lists of word ids, or, with ``on_empty="error"``, a text is
                empty.
        """
        import polars as pl

        if not column.dtype.is_nested():
            return super().encode_array(column)
        values, offsets = flatten(self, column)
        if not (values.dtype.is_integer() or (values.dtype == pl.String and len(values) == 0)):
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds lists of {values.dtype}; it must hold texts or "
                "lists of integer word ids"
            )
        return self._sums_of_ids(values.cast(pl.Int64).to_numpy(), np.asarray(offsets))

    def _encode_few(self, values: Sequence[Any]) -> ArrayColumn | None:
        lists = [value for value in values if value is not None]
        if not lists or any(type(value) is not list for value in lists):
            return super()._encode_few(values)
        entries = [entry for value in lists for entry in value if entry is not None]
        if not entries or any(type(entry) is not int or not -(2**63) <= entry < 2**63 for entry in entries):
            return None
        lengths = [sum(entry is not None for entry in value or ()) for value in values]
        return self._sums_of_ids(np.array(entries, np.int64), np.cumsum([0, *lengths]))

    def read(self, value: Any) -> Reading:
        """Return the words of a text, or the word ids of a list without its padding."""
        ids = plain(value)
        if not isinstance(ids, list):
            return super().read(value)
        self.encode_values([value])
        return reading_of(self, "words", [ReadValue(str(each), None) for each in ids if each])

    def _encode_pieces(self, pieces: Iterable[Letters]) -> NDArray[np.float32]:
        return np.concatenate([self._sums(*word_hashes(letters)) for letters in pieces])

    def _sums_of_ids(self, ids: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        words = np.cumsum(np.concatenate([[0], ids != 0]))  # number of words before each value
        return self._sums(mix64_(ids[ids != 0].astype(np.uint64)), words[offsets])

    def _sums(self, words: HashKeys, starts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Sum the vectors of the words (W,) of each row, whose words begin at ``starts`` (B + 1,): (B, dimension)."""
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        distinct, place = np.unique(words, return_inverse=True)
        total = np.zeros((len(starts) - 1, self.dimension), np.float32)
        for first in range(0, len(distinct), _WORDS):
            chosen = np.flatnonzero((place >= first) & (place < first + _WORDS))
            bags = np.searchsorted(rows[chosen], np.arange(len(starts)))
            total += _bag_sums(self._vectors(distinct[first : first + _WORDS]), place[chosen] - first, bags)
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


def _bag_sums(vectors: NDArray[np.float32], ids: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum the vectors (U, D) of the ids (T,) of each row, one after the other, as ``embedding_bag`` of torch does.

    Rows of one length are summed together: NumPy adds along an axis that is not the last one in order.
    ``add.reduceat`` would add in pairs, with other last bits.
    """
    sums = np.zeros((len(starts) - 1, vectors.shape[1]), np.float32)
    lengths = np.diff(starts)
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        length = int(lengths[same[0]]) if len(same) else 0
        step = max(1, _AT_ONCE // max(1, length))
        for begin in range(0, len(same), step):
            rows = same[begin : begin + step]
            for first in range(0, length, _AT_ONCE):
                place = np.arange(first, min(first + _AT_ONCE, length))
                part = vectors[ids[starts[rows][:, None] + place]]  # (rows, words, D)
                part[:, 0] += sums[rows]
                sums[rows] = np.add.reduce(part, axis=1)
    return sums
