"""Text as bags of hashed (or counted) n-grams: what the deep structured semantic model reads.

The original (Huang et al., CIKM 2013) calls it word hashing: every word becomes its letter trigrams, so that a small
table serves an open vocabulary, and a misspelt word still shares most of its trigrams with the right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.batch import Ragged
from dssm_lightning.features.hashing import BASE, Keys, buckets, lookup, ngrams, salt
from dssm_lightning.features.letters import Counts, pieces
from dssm_lightning.features.text_column import TextFeature, ragged, require_positive


@dataclass(frozen=True, kw_only=True)
class HashedNgrams(TextFeature):
    """All n-grams of letters or words with min_n <= n <= max_n, hashed into a fixed number of rows.

    Letter n-grams see a word's beginning and end (``#c ca at t#``); word n-grams stay within the text. Nothing is
    learnt, nothing is unknown: texts never seen before, in any script, are encoded like all others.
    """

    unit: Literal["letters", "words"]
    """What is counted off."""
    min_n: int = 1
    """Length of the shortest n-grams."""
    max_n: int = 3
    """Length of the longest."""
    num_buckets: int = 1 << 18
    """Rows of the table. Of K distinct n-grams, a share of about K / (2 · num_buckets) falls on a row already taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, num_buckets=self.num_buckets)
        if self.unit not in ("letters", "words"):
            raise ValueError(f"feature {self.name!r}: unit is {self.unit!r}; it can be 'letters' or 'words'")
        if not 1 <= self.min_n <= self.max_n:
            raise ValueError(
                f"feature {self.name!r}: min_n is {self.min_n} and max_n {self.max_n}; 1 <= min_n <= max_n must hold"
            )

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; none of them means unknown."""
        return self.num_buckets

    def _encode(self, texts: pl.Series) -> Ragged:
        return _hashed(texts, self.unit, self.min_n, self.max_n, self.num_buckets)


@dataclass(frozen=True, kw_only=True)
class HashedWords(TextFeature):
    """Whole words, in the order of the text, hashed into a fixed number of rows: ``HashedNgrams`` of one word."""

    num_buckets: int = 1 << 16
    """Rows of the table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, num_buckets=self.num_buckets)

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; none of them means unknown."""
        return self.num_buckets

    def _encode(self, texts: pl.Series) -> Ragged:
        return _hashed(texts, "words", 1, 1, self.num_buckets)


@dataclass(frozen=True, kw_only=True)
class HashedTrigrams(TextFeature):
    """The letter trigrams of the words, ``#ca cat at#``: word hashing of the DSSM (Huang et al., CIKM 2013).

    By default they are hashed, as ``HashedNgrams`` of three letters: nothing is learnt and every script is served. The
    paper's own way is a dictionary of all trigrams that occur, one row each: ``num_buckets: null`` fits it.
    """

    num_buckets: int | None = 1 << 16
    """Rows of the table; null = one for each trigram of ``vocabulary``.

    40,000 English words have 10,306 trigrams and 500,000 have 30,621 (the paper's table 1). Hashed, 7 % and 20 % of
    them share a row of 2^16 with another, 2 % and 6 % of 2^18; of 30,000 rows, 37 % would. 2^16 rows are still few
    enough that an optimizer may sweep over all of them in each step.
    """
    vocabulary: tuple[str, ...] | None = None
    """With ``num_buckets: null``: the trigrams, U+0000 for the boundary, whose rows are 1, 2, …; fitted unless given.
    Row 0 is for any other trigram."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, num_buckets=self.num_buckets)
        if self.vocabulary is None:
            return
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # a list would not equal what JSON gives
        if self.num_buckets is not None:
            raise ValueError(f"feature {self.name!r}: a vocabulary takes the place of hashing; set num_buckets: null")
        wrong = next((trigram for trigram in self.vocabulary if len(trigram) != 3), None)
        if wrong is not None or len(set(self.vocabulary)) < len(self.vocabulary):
            found = "some trigram twice" if wrong is None else repr(wrong)
            raise ValueError(f"feature {self.name!r}: its vocabulary holds {found}; it must hold distinct trigrams")

    @property
    def is_fitted(self) -> bool:
        """Whether the feature can encode: always when it hashes."""
        return self.num_buckets is not None or self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; row 0 means unknown if there is a vocabulary."""
        return len(self.vocabulary or ()) + 1 if self.num_buckets is None else self.num_buckets

    @cached_property
    def _known(self) -> tuple[Keys, NDArray[np.int32]]:
        """Keys of the vocabulary, sorted, and their rows."""
        codes = (
            np.frombuffer("".join(self.vocabulary or ()).encode("utf-32-le"), "<u4").astype(np.uint64).reshape(-1, 3)
        )
        base = np.uint64(BASE)
        keys = (codes[:, 0] * base + codes[:, 1]) * base + codes[:, 2] + salt(3)
        order = np.argsort(keys)
        return keys[order], (order + 1).astype(np.int32)

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        if self.is_fitted:
            return {}
        parts, _ = _trigram_keys(texts)
        digits = np.unique(np.concatenate([np.unique(keys) for keys in parts]) - salt(3))
        base = np.uint64(BASE)
        codes = np.stack([digits // base // base, digits // base % base, digits % base], 1)
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        return {"vocabulary": tuple(text[i : i + 3] for i in range(0, len(text), 3))}

    def _encode(self, texts: pl.Series) -> Ragged:
        if self.num_buckets is not None:
            return _hashed(texts, "letters", 3, 3, self.num_buckets)
        keys, lengths = _trigram_keys(texts)
        return ragged(lookup(np.concatenate(keys), *self._known), lengths)


def _hashed(texts: pl.Series, unit: Literal["letters", "words"], min_n: int, max_n: int, num_buckets: int) -> Ragged:
    ids, lengths = [], []
    for letters in pieces(texts):
        keys, counts = ngrams(letters, unit, min_n, max_n)
        ids.append(buckets(keys, num_buckets))
        lengths.append(counts)
    return ragged(np.concatenate(ids), np.concatenate(lengths))


def _trigram_keys(texts: pl.Series) -> tuple[list[Keys], Counts]:
    parts = [ngrams(letters, "letters", 3, 3) for letters in pieces(texts)]
    return [keys for keys, _ in parts], np.concatenate([lengths for _, lengths in parts])
