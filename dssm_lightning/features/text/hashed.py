"""Text as bags of hashed n-grams: what the deep structured semantic model reads.

The original (Huang et al., CIKM 2013) calls it word hashing: every word becomes its letter trigrams, so that a small
table serves an open vocabulary, and a misspelt word still shares most of its trigrams with the right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import torch

from dssm_lightning.features.text.ngrams import ngrams
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_positive
from dssm_lightning.features.text.words_and_letters import pieces
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import buckets
from dssm_lightning.utils.ragged import Ragged


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
            raise UserError(f"feature {self.name!r}: unit is {self.unit!r}; it can be 'letters' or 'words'")
        if not 1 <= self.min_n <= self.max_n:
            raise UserError(
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
    """The letter trigrams of the words, ``#ca cat at#``, hashed: word hashing of the DSSM (Huang et al., CIKM 2013).

    ``HashedNgrams`` of three letters: nothing is learnt and every script is served. A letter is a code point, so that
    a script needs no rules of its own: *кот* is ``#ко кот от#``, *猫* ``#猫#``, and a word of one sign has one trigram.
    What people see as one sign may be several: a flag, a family or a thumb with a skin tone is a run of code points
    (joined by U+200D, say), whose trigrams overlap, and so shares some with its relatives. Right-to-left scripts are
    taken in the order in which they are stored, which is the order of reading. Chinese and Japanese, which put no
    blanks between words, give the trigrams of a whole phrase. The paper's own way, a row for each trigram that occurs,
    is :class:`~dssm_lightning.features.text.trigrams.Trigrams`.
    """

    num_buckets: int = 1 << 16
    """Rows of the table.

    40,000 English words have 10,306 trigrams and 500,000 have 30,621 (the paper's table 1). Hashed, 7 % and 20 % of
    them share a row of 2^16 with another, 2 % and 6 % of 2^18; of 30,000 rows, 37 % would. 2^16 rows are still few
    enough that an optimizer may sweep over all of them in each step.
    """
    max_word_n: int = 0
    """Hash a text's n-grams of words with n up to this into the same rows, after its trigrams; 0 = none of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, num_buckets=self.num_buckets)
        if self.max_word_n < 0:
            raise UserError(f"feature {self.name!r}: max_word_n is {self.max_word_n}; it must be at least 0")

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; none of them means unknown."""
        return self.num_buckets

    def _encode(self, texts: pl.Series) -> Ragged:
        trigrams = _hashed(texts, "letters", 3, 3, self.num_buckets)
        if self.max_word_n == 0:
            return trigrams
        return _joined(trigrams, _hashed(texts, "words", 1, self.max_word_n, self.num_buckets))


def _joined(first: Ragged, second: Ragged) -> Ragged:
    """Each row's values of the first, then those of the second."""
    order = torch.cat([first.rows, second.rows]).argsort(stable=True)
    return Ragged(torch.cat([first.values, second.values])[order], first.offsets + second.offsets)


def _hashed(texts: pl.Series, unit: Literal["letters", "words"], min_n: int, max_n: int, num_buckets: int) -> Ragged:
    ids, lengths = [], []
    for letters in pieces(texts):
        keys, counts = ngrams(letters, unit, min_n, max_n)
        ids.append(buckets(keys, num_buckets))
        lengths.append(counts)
    return ragged(np.concatenate(ids), np.concatenate(lengths))
