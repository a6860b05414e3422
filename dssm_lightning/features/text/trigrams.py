"""Letter trigrams as rows of a fitted vocabulary, and letter trigrams word by word."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features.text.ngrams import BASE, lookup, ngrams, salt
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_positive
from dssm_lightning.features.text.words_and_letters import Counts, pieces, word_lengths
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import HashKeys, buckets
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True, kw_only=True)
class Trigrams(TextFeature):
    """The letter trigrams of the words, ``#ca cat at#``, as rows of a fitted vocabulary: the DSSM paper's own way.

    Nothing collides, and row 0 is for any trigram that was not learnt. Its sibling ``HashedTrigrams`` learns nothing,
    and gives a trigram that is new a row of its own, or one that it shares.
    """

    min_frequency: int = 0
    """Trigrams in fewer texts are not learnt."""
    max_tokens: int | None = None
    """Keep at most so many trigrams, those in most texts; null = all."""
    vocabulary: tuple[str, ...] | None = None
    """The trigrams, U+0000 for the boundary, whose rows are 1, 2, …: fitted, in the order of their code points, unless
    given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, max_tokens=self.max_tokens)
        if self.min_frequency < 0:
            raise UserError(f"feature {self.name!r}: min_frequency is {self.min_frequency}; it must be at least 0")
        if self.vocabulary is None:
            return
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # a list would not equal what JSON gives
        wrong = next((trigram for trigram in self.vocabulary if len(trigram) != 3), None)
        if wrong is not None or len(set(self.vocabulary)) < len(self.vocabulary):
            found = "some trigram twice" if wrong is None else repr(wrong)
            raise UserError(f"feature {self.name!r}: its vocabulary holds {found}; it must hold distinct trigrams")

    @property
    def is_fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; row 0 means unknown."""
        return len(self.vocabulary or ()) + 1

    @cached_property
    def _known(self) -> tuple[HashKeys, NDArray[np.int32]]:
        """Keys of the vocabulary, sorted, and their rows."""
        text = "".join(self.vocabulary or ())
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64).reshape(-1, 3)
        base = np.uint64(BASE)
        keys = (codes[:, 0] * base + codes[:, 1]) * base + codes[:, 2] + salt(3)
        order = np.argsort(keys)
        return keys[order], (order + 1).astype(np.int32)

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        if self.vocabulary is not None:
            return {}
        keys, lengths = trigram_keys(texts)
        pairs = pl.DataFrame({"key": keys, "text": np.repeat(np.arange(len(lengths)), lengths)}).unique()
        counted = pairs["key"].value_counts(name="texts").sort(["texts", "key"], descending=[True, False])
        often = counted.filter(pl.col("texts") >= self.min_frequency)
        if len(often) == 0 < len(counted):
            raise UserError(
                f"feature {self.name!r}: min_frequency {self.min_frequency} leaves none of the {len(counted):,} "
                f"trigrams; the most frequent one is in {counted['texts'][0]:,} of {len(texts):,} texts"
            )
        kept = often["key"].head(len(often) if self.max_tokens is None else self.max_tokens)
        return {"vocabulary": trigram_strings(kept.sort().to_numpy())}

    def _encode(self, texts: pl.Series) -> Ragged:
        keys, lengths = trigram_keys(texts)
        return ragged(lookup(keys, *self._known), lengths)


@dataclass(frozen=True, kw_only=True)
class WordTrigrams(TextFeature):
    """The hashed letter trigrams of each word, words in the order of the text: what ``ConvTrigrams`` reads.

    Id 0 ends a word, as the code point 0 does among letters; a trigram's id is 1 … num_buckets. *the cat* is
    ``#th the he# 0 #ca cat at# 0``: a row of ids as all others, so that caches and batches need not know of words.
    """

    num_buckets: int = 30_000
    """Rows of the table, but for row 0."""
    max_length: int | None = None
    """Keep at most so many words of each text, the first ones; null = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, num_buckets=self.num_buckets, max_length=self.max_length)

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; row 0 stands for the end of a word."""
        return self.num_buckets + 1

    def _encode(self, texts: pl.Series) -> Ragged:
        ids, lengths = [], []
        for letters in pieces(texts):
            keys, counts = ngrams(letters, "letters", 3, 3)
            of_word, words = word_lengths(letters)  # a word of n letters has n trigrams
            ids.append(np.insert(buckets(keys, self.num_buckets) + 1, np.cumsum(of_word), 0))
            lengths.append(counts + words)
        values, sizes = np.concatenate(ids), np.concatenate(lengths)
        return ragged(values, sizes) if self.max_length is None else _first_words(values, sizes, self.max_length)


def _first_words(values: NDArray[np.int32], lengths: Counts, limit: int) -> Ragged:
    """Rows (B,) of the given lengths, each cut after its word number ``limit``; 0 ends a word."""
    ended = np.concatenate([[0], np.cumsum(values == 0)])  # words that have ended before each value
    begins = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(len(lengths)), lengths)
    kept = ended[:-1] - ended[begins[row]] < limit
    return ragged(values[kept], np.bincount(row[kept], minlength=len(lengths)))


def trigram_keys(texts: pl.Series) -> tuple[HashKeys, Counts]:
    """Keys (T,) of the letter trigrams of normalised texts (B,), in order, and how many each text has (B,)."""
    parts = [ngrams(letters, "letters", 3, 3) for letters in pieces(texts)]
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([lengths for _, lengths in parts])


def trigram_strings(keys: HashKeys) -> tuple[str, ...]:
    """The trigrams (T,) that keys stand for, U+0000 for a boundary."""
    digits, base = keys - salt(3), np.uint64(BASE)
    codes = np.stack([digits // base // base, digits // base % base, digits % base], 1)
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    return tuple(text[i : i + 3] for i in range(0, len(text), 3))
