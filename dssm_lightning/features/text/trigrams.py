"""Letter trigrams with a fitted vocabulary, and hashed letter trigrams word by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.ngrams import BASE, lookup, ngram_texts, ngrams, salt
from dssm_lightning.features.text.shared_vocabulary import SharedVocabulary
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_sizes
from dssm_lightning.features.text.words_and_letters import Counts, Letters, pieces, word_lengths
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.hashing import HashKeys, buckets
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Trigrams(SharedVocabulary, TextFeature):
    """The letter trigrams of the words, ``#ca cat at#``, with a fitted vocabulary, as in the DSSM paper.

    Trigrams do not collide. Row 0 is for all unknown trigrams. ``HashedTrigrams`` learns no vocabulary: a new trigram
    has a row, which it may share with other trigrams.

    Example:
        >>> import polars as pl
        >>> feature = Trigrams(name="title").fit(pl.Series(["cat"]))
        >>> [trigram.replace(chr(0), "#") for trigram in feature.vocabulary]
        ['#ca', 'at#', 'cat']
        >>> feature.encode(pl.Series(["cats"])).values.tolist()
        [1, 3, 0, 0]
    """

    knows_values = True

    min_frequency: int = 0
    """Do not learn trigrams in fewer texts."""
    max_tokens: int | None = None
    """Keep only the ``max_tokens`` trigrams that are in most texts; None keeps all."""
    vocabulary: tuple[str, ...] | None = None
    """The trigrams of the rows 1, 2, …, with U+0000 as the boundary. Learnt by ``fit`` in the order of code points,
    unless it is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, max_tokens=self.max_tokens)
        require_at_least(self._label, "min_frequency", self.min_frequency, minimum=0)
        if self.vocabulary is None:
            return
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # a list, as YAML has it, would not be hashable
        wrong = next((trigram for trigram in self.vocabulary if len(trigram) != 3), None)
        if wrong is not None:
            raise UserError(f"{self._label}: vocabulary holds {wrong!r}; it must hold trigrams")
        if len(set(self.vocabulary)) < len(self.vocabulary):
            repeated = Counter(self.vocabulary).most_common(1)[0][0]
            raise UserError(f"{self._label}: vocabulary holds {repeated!r} more than once; remove the duplicates")

    @property
    def is_fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; row 0 is for unknown trigrams."""
        return len(self.vocabulary or ()) + 1

    @cached_property
    def _known(self) -> tuple[HashKeys, NDArray[np.int32]]:
        """Return the keys of the vocabulary, sorted, and their rows."""
        text = "".join(self.vocabulary or ())
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.uint64).reshape(-1, 3)
        base = np.uint64(BASE)
        keys = (codes[:, 0] * base + codes[:, 1]) * base + codes[:, 2] + salt(3)
        order = np.argsort(keys)
        return keys[order], (order + 1).astype(np.int32)

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        if self.vocabulary is not None:
            return {}
        import polars as pl

        keys, lengths = trigram_keys(texts)
        pairs = pl.DataFrame({"key": keys, "text": np.repeat(np.arange(len(lengths)), lengths)}).unique()
        counted = pairs["key"].value_counts(name="texts").sort(["texts", "key"], descending=[True, False])
        often = counted.filter(pl.col("texts") >= self.min_frequency)
        if len(often) == 0 < len(counted):
            raise UserError(
                f"{self._label}: min_frequency is {self.min_frequency}, which removes all {len(counted):,} trigrams; "
                f"the most frequent trigram is in {counted['texts'][0]:,} of {len(texts):,} texts"
            )
        kept = often["key"].head(len(often) if self.max_tokens is None else self.max_tokens)
        return {"vocabulary": trigram_strings(kept.sort().to_numpy())}

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        keys, lengths = _trigram_keys(pieces)
        return ragged(lookup(keys, *self._known), lengths)

    def _read_letters(self, letters: Letters) -> tuple[list[str], str]:
        return ngram_texts(letters, "letters", 3, 3), "trigrams"


@dataclass(frozen=True, kw_only=True)
class WordTrigrams(TextFeature):
    """The hashed letter trigrams of each word, in the order of the words: the input of ``ConvTrigrams``.

    A trigram's id is 1 … num_buckets, and id 0 ends a word: *the cat* becomes ``#th the he# 0 #ca cat at# 0``. The row
    is a plain row of ids, so that caches and batches need no special case for words.

    Example:
        >>> import polars as pl
        >>> WordTrigrams(name="title", num_buckets=1000).encode(pl.Series(["the cat"])).values.tolist()
        [728, 947, 986, 0, 813, 24, 470, 0]
    """

    num_buckets: int = 30_000
    """Number of rows of the table, not counting row 0."""
    max_length: int | None = None
    """Keep only the first ``max_length`` words of each text; None keeps all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, num_buckets=self.num_buckets, max_length=self.max_length)

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; row 0 is the end of a word."""
        return self.num_buckets + 1

    @property
    def longest(self) -> int | None:
        """The most words that are kept of a text: ``max_length``."""
        return self.max_length

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        ids, lengths = [], []
        for letters in pieces:
            keys, counts = ngrams(letters, "letters", 3, 3)
            trigrams, words = word_lengths(letters)  # of each word, because a word of n letters has n trigrams
            ids.append(np.insert(buckets(keys, self.num_buckets) + 1, np.cumsum(trigrams), 0))
            lengths.append(counts + words)
        values, sizes = np.concatenate(ids), np.concatenate(lengths)
        return ragged(values, sizes) if self.max_length is None else _first_words(values, sizes, self.max_length)


def _first_words(values: NDArray[np.int32], lengths: Counts, limit: int) -> RaggedArray:
    """Make rows of the given lengths (B,), each truncated to its first ``limit`` words; 0 ends a word."""
    ended = np.concatenate([[0], np.cumsum(values == 0)])  # number of words that end before each value
    begins = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(len(lengths)), lengths)
    kept = ended[:-1] - ended[begins[row]] < limit
    return ragged(values[kept], np.bincount(row[kept], minlength=len(lengths)))


def trigram_keys(texts: pl.Series) -> tuple[HashKeys, Counts]:
    """Return the keys (T,) of the letter trigrams of texts, in order, and their number per text (B,)."""
    return _trigram_keys(pieces(texts))


def _trigram_keys(pieces: Iterable[Letters]) -> tuple[HashKeys, Counts]:
    parts = [ngrams(letters, "letters", 3, 3) for letters in pieces]
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([lengths for _, lengths in parts])


def trigram_strings(keys: HashKeys) -> tuple[str, ...]:
    """Return the trigrams (T,) of the keys, with U+0000 as the boundary."""
    digits, base = keys - salt(3), np.uint64(BASE)
    codes = np.stack([digits // base // base, digits // base % base, digits % base], 1)
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    return tuple(text[i : i + 3] for i in range(0, len(text), 3))
