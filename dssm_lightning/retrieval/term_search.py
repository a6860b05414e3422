"""Search by terms: BM25 over words, and TF-IDF over letter trigrams."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.ngrams import ngrams, word_hashes
from dssm_lightning.features.text.words_and_letters import VERSION, Letters, pieces, pieces_of
from dssm_lightning.retrieval.postings import Integers, Postings
from dssm_lightning.retrieval.term_index import TermIndex
from dssm_lightning.utils.errors import MAX_FLOAT32, UserError, is_number, require_at_least
from dssm_lightning.utils.hashing import HashKeys

MANY_TEXTS = 4096
"""From this number on, texts are split into words as a column of Polars."""
_UTF32 = f"utf-32-{sys.byteorder[0]}e"


@dataclass(eq=False)
class TfIdf(TermIndex):
    """Cosine of TF-IDF vectors over letter trigrams within words.

    A weight is (1 + ln tf) (ln((1 + N) / (1 + df)) + 1), and each text's vector has length 1. The scores equal those of
    scikit-learn's ``TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True)``, fitted on the corpus.
    Whitespace alone separates words, so that words include punctuation, unlike the words of the text features.

    Example:
        >>> index = TfIdf()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> index.scores(["copying files"]).argmax(axis=1).tolist()
        [1]
    """

    rule: ClassVar[int] = 1

    def _terms(self, texts: Sequence[str]) -> tuple[HashKeys, Integers]:
        return ngrams(_between_whitespace(texts), "letters", 3, 3)

    def _corpus_weights(self, postings: Postings) -> NDArray[np.float64]:
        return self._query_weights(postings, postings.found_in, postings.num_texts)

    def _query_weights(self, postings: Postings, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        rarity = np.log((1.0 + num_candidates) / (1.0 + found_in)) + 1.0
        weights = (1.0 + np.log(postings.times)) * postings.per_posting(rarity)
        norms = np.sqrt(np.bincount(postings.texts, weights**2, minlength=postings.num_texts))
        return np.asarray(weights / norms[postings.texts])


@dataclass(eq=False)
class BM25(TermIndex):
    """Okapi BM25 over the words of :mod:`dssm_lightning.features.text.words_and_letters`.

    A candidate of l words that has a term tf times gets, for each occurrence of the term in the query,
    ln(1 + (N − df + ½) / (df + ½)) tf (k1 + 1) / (tf + k1 (1 − b + b l / mean l)).

    Source: Robertson and Zaragoza 2009; the logarithm is Lucene's, which is never negative.

    Raises:
        UserError: a k1 that is negative or not finite; b outside 0 … 1.

    Example:
        >>> index = BM25()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> index.scores(["copy"]).argmax(axis=1).tolist()
        [1]
    """

    rule: ClassVar[int] = VERSION

    k1: float = 1.2
    """How much repetitions of a word count: 0 ignores them; with a large value, each counts fully."""
    b: float = 0.75
    """How much the score of a long text is reduced, from 0 (not at all) to 1."""

    def __post_init__(self) -> None:
        require_at_least("BM25", "k1", self.k1, 0)
        if not (self.k1 < MAX_FLOAT32 and is_number(self.b) and 0 <= self.b <= 1):
            raise UserError(f"BM25: k1 is {self.k1!r} and b is {self.b!r}; k1 must be finite, and b from 0 to 1")

    @property
    def _settings(self) -> dict[str, Any]:
        return asdict(self)

    def _terms(self, texts: Sequence[str]) -> tuple[HashKeys, Integers]:
        keys, lengths = [], []
        for letters in _words(texts):
            hashes, starts = word_hashes(letters)
            keys.append(hashes)
            lengths.append(np.diff(starts))
        return np.concatenate(keys), np.concatenate(lengths)

    def _corpus_weights(self, postings: Postings) -> NDArray[np.float64]:
        rarity = np.log1p((postings.num_texts - postings.found_in + 0.5) / (postings.found_in + 0.5))
        mean = float(postings.lengths.mean()) if postings.num_texts else 0.0
        length = 1.0 - self.b + self.b * postings.lengths / max(mean, 1e-12)
        repeats = postings.times * (self.k1 + 1.0) / (postings.times + self.k1 * length[postings.texts])
        return np.asarray(postings.per_posting(rarity) * repeats)

    def _query_weights(self, postings: Postings, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        return postings.times.astype(np.float64)


def _words(texts: Sequence[str]) -> Iterator[Letters]:
    if len(texts) < MANY_TEXTS:
        return pieces_of(texts)
    import polars as pl

    return pieces(pl.Series(texts, dtype=pl.String))


def _between_whitespace(texts: Sequence[str]) -> Letters:
    """Return lower-case texts (B,) as code points, with 0 in place of whitespace."""
    texts = [text.lower() for text in texts]
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1, out=starts[1:])
    codes = np.frombuffer(bytearray("\0".join(["", *texts, ""]), _UTF32), np.uint32)
    codes[_is_whitespace().take(codes, mode="clip")] = 0
    return Letters(codes, starts)


@cache
def _is_whitespace() -> NDArray[np.bool_]:
    """Return whether each code point is whitespace; the last stands for all above, of which none is."""
    return np.array([chr(code).isspace() for code in range(0x3002)])
