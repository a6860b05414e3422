"""Texts as bags of hashed n-grams, the input of the deep structured semantic model (DSSM).

The DSSM paper (Huang et al., CIKM 2013) calls this word hashing: each word is replaced by its letter trigrams. A small
table then serves an open vocabulary, and a misspelt word shares most of its trigrams with the correct word.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dssm_lightning.features.text.ngrams import ngram_texts, ngrams
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_sizes
from dssm_lightning.features.text.words_and_letters import Letters
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice
from dssm_lightning.utils.hashing import buckets
from dssm_lightning.utils.ragged_arrays import RaggedArray

LONGEST = 50
"""Letters or words of an n-gram: a file may describe the feature."""


@dataclass(frozen=True, kw_only=True)
class HashedNgrams(TextFeature):
    """All n-grams of letters or words with min_n <= n <= max_n, hashed to a fixed number of rows.

    Letter n-grams include the boundaries of a word (``#c ca at t#``). Word n-grams do not. Nothing is learnt and no
    n-gram is unknown: new texts, in any script, are encoded in the same way.

    Example:
        >>> import polars as pl
        >>> feature = HashedNgrams(name="title", unit="words", min_n=1, max_n=2, num_buckets=1000)
        >>> feature.encode(pl.Series(["toy story", "toy"])).lengths.tolist()  # toy, toy story, story · toy
        [3, 1]
    """

    unit: Literal["letters", "words"]
    """The parts that form an n-gram."""
    min_n: int = 1
    """Length of the shortest n-grams."""
    max_n: int = 3
    """Length of the longest n-grams."""
    num_buckets: int = 1 << 18
    """Number of rows of the table. Of K distinct n-grams, a share of about K / (2 · num_buckets) collides."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, num_buckets=self.num_buckets)
        require_choice(self._label, "unit", self.unit, ("letters", "words"))
        if not 1 <= self.min_n <= self.max_n <= LONGEST:
            found = f"min_n is {self.min_n} and max_n is {self.max_n}"
            raise UserError(f"{self._label}: {found}; 1 <= min_n <= max_n <= {LONGEST} must hold")

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; no row is for unknown n-grams."""
        return self.num_buckets

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        return _hashed(pieces, self.unit, self.min_n, self.max_n, self.num_buckets)

    def _read_letters(self, letters: Letters) -> tuple[list[str], str]:
        return ngram_texts(letters, self.unit, self.min_n, self.max_n), "n-grams"


@dataclass(frozen=True, kw_only=True)
class HashedWords(TextFeature):
    """Whole words in the order of the text, hashed to a fixed number of rows: ``HashedNgrams`` of one word.

    Example:
        >>> import polars as pl
        >>> HashedWords(name="title").encode(pl.Series(["the cat", "The dog"])).values.tolist()
        [1352, 33670, 1352, 5272]
    """

    num_buckets: int = 1 << 16
    """Number of rows of the table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, num_buckets=self.num_buckets)

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; no row is for unknown words."""
        return self.num_buckets

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        return _hashed(pieces, "words", 1, 1, self.num_buckets)


@dataclass(frozen=True, kw_only=True)
class HashedTrigrams(TextFeature):
    """The hashed letter trigrams of the words, ``#ca cat at#``: word hashing of the DSSM (Huang et al., CIKM 2013).

    Equal to ``HashedNgrams`` of three letters: nothing is learnt, and every script works. A letter is a code point, so
    that no script needs special rules: *кот* has the trigrams ``#ко кот от#``, and *猫*, a word of one letter, has the
    trigram ``#猫#``. One visible sign may be several code points: a flag, a family or a thumb with a skin tone is a
    sequence, for example joined by U+200D, and shares some trigrams with similar signs. Right-to-left scripts are read
    in the order of storage, which is the order of reading. Chinese and Japanese have no blanks between words, so the
    trigrams are those of a whole phrase. :class:`~dssm_lightning.features.text.trigrams.Trigrams` has one row for each
    trigram that occurs, as in the paper.

    Example:
        >>> import polars as pl
        >>> HashedTrigrams(name="title").encode(pl.Series(["cat", "cats"])).values.tolist()
        [53217, 1552, 30769, 53217, 1552, 34733, 20985]
    """

    num_buckets: int = 1 << 16
    """Number of rows of the table.

    40,000 English words have 10,306 trigrams, and 500,000 words have 30,621 (table 1 of the paper). With 2^16 rows, 7 %
    and 20 % of these trigrams share a row with another one; with 2^18 rows, 2 % and 6 %; with 30,000 rows, 37 % of the
    30,621 do. An optimizer can still update all of 2^16 rows in each step.
    """
    max_word_n: int = 0
    """Also hash the n-grams of up to this many words to the same rows, after the trigrams of the text; 0 = no words."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, num_buckets=self.num_buckets)
        require_at_least(self._label, "max_word_n", self.max_word_n, minimum=0)
        if self.max_word_n > LONGEST:
            raise UserError(f"{self._label}: max_word_n is {self.max_word_n}; it must be at most {LONGEST}")

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; no row is for unknown trigrams."""
        return self.num_buckets

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        if self.max_word_n == 0:
            return _hashed(pieces, "letters", 3, 3, self.num_buckets)
        pieces = list(pieces)  # read twice
        words = _hashed(pieces, "words", 1, self.max_word_n, self.num_buckets)
        return _concatenate_rows(_hashed(pieces, "letters", 3, 3, self.num_buckets), words)

    def _read_letters(self, letters: Letters) -> tuple[list[str], str]:
        trigrams = ngram_texts(letters, "letters", 3, 3)
        words = ngram_texts(letters, "words", 1, self.max_word_n) if self.max_word_n else []
        return trigrams + words, "n-grams" if words else "trigrams"


def _concatenate_rows(first: RaggedArray, second: RaggedArray) -> RaggedArray:
    """Append to each row of the first column the row of the second column."""
    order = np.concatenate([first.rows, second.rows]).argsort(kind="stable")
    return RaggedArray(np.concatenate([first.values, second.values])[order], first.offsets + second.offsets)


def _hashed(
    pieces: Iterable[Letters], unit: Literal["letters", "words"], min_n: int, max_n: int, num_buckets: int
) -> RaggedArray:
    ids, lengths = [], []
    for letters in pieces:
        keys, counts = ngrams(letters, unit, min_n, max_n)
        ids.append(buckets(keys, num_buckets))
        lengths.append(counts)
    return ragged(np.concatenate(ids), np.concatenate(lengths))
