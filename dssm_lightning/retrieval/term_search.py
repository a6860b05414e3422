"""Search by terms: BM25 over words, and TF-IDF over letter trigrams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.features.text.ngrams import ngrams, word_hashes
from dssm_lightning.features.text.words_and_letters import Letters, normalised, pieces
from dssm_lightning.utils.ragged import Ragged, take

HashKeys = NDArray[np.uint64]
Integers = NDArray[np.int64]

TABLE_CHUNK = 1 << 24
"""Largest number of entries of a dense (vocabulary, queries) table; further queries make further chunks."""


class _Bags(NamedTuple):
    """Texts as bags of terms, with each distinct term of a text once."""

    term: Integers  # (T,) rows of the vocabulary
    times: Integers  # (T,) occurrences of the term in its text
    offsets: Integers  # (B + 1,)

    @property
    def text(self) -> Integers:
        """(T,) the text that each entry belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


class WeightedTexts(NamedTuple):
    """Texts (B,) as a sparse matrix: ragged terms, and a weight for each term.

    Example:
        >>> index = BM25()
        >>> index.fit(["list files", "copy a file"])
        >>> index.weigh(["copy copy files", "unknown"]).weights.tolist()
        [2.0, 1.0]
    """

    terms: Ragged
    weights: Tensor  # (T,) float32


class TermIndex:
    """Base of searches by terms: a score is the dot product of two sparse vectors over the terms of the corpus.

    A term of a query that no text of the corpus has is ignored.

    Example:
        >>> index: TermIndex = BM25()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> queries = index.weigh(["copy", "files"])  # once, for several calls of scores
        >>> index.scores(queries, torch.tensor([1])).argmax(dim=1).tolist()
        [0]
    """

    def fit(self, texts: Sequence[str | None]) -> None:
        """Learn the vocabulary and its weights from the texts of the candidates (N,)."""
        keys, lengths = self._terms(_series(texts))
        self._vocabulary = np.unique(keys)
        corpus = _bags(keys, lengths, self._vocabulary)
        self._found_in = np.bincount(corpus.term, minlength=len(self._vocabulary))  # (V,) candidates with the term
        self._corpus = _weighted(corpus, self._corpus_weights(corpus, self._found_in, lengths))

    def search(self, texts: Sequence[str | None]) -> Tensor:
        """Return scores (Q, N) float32 of texts (Q,); 0 for a candidate that shares no term with the query."""
        return self.scores(self.weigh(texts), torch.arange(len(texts)))

    def weigh(self, texts: Sequence[str | None]) -> WeightedTexts:
        """Weigh the terms of queries once, for several calls of :meth:`scores`."""
        queries = _bags(*self._terms(_series(texts)), self._vocabulary)
        num_candidates = len(self._corpus.terms.offsets) - 1
        return _weighted(queries, self._query_weights(queries, self._found_in, num_candidates))

    def scores(self, queries: WeightedTexts, rows: Tensor) -> Tensor:
        """Return scores (Q, N) float32 of the given rows (Q,) of weighted queries."""
        step = max(1, TABLE_CHUNK // max(1, len(self._vocabulary)))
        chunks = [self._score(queries, rows[start : start + step]) for start in range(0, len(rows), step)]
        return torch.cat(chunks) if chunks else torch.zeros(0, len(self._corpus.terms.offsets) - 1)

    def _score(self, queries: WeightedTexts, rows: Tensor) -> Tensor:
        terms = queries.terms
        entry = take(Ragged(torch.arange(len(terms.values)), terms.offsets), rows)
        assert isinstance(entry, Ragged), "terms are ragged"
        table = torch.zeros(len(self._vocabulary), len(rows))
        table[terms.values[entry.values], entry.rows] = queries.weights[entry.values]
        corpus = self._corpus.terms
        return F.embedding_bag(
            corpus.values,
            table,
            corpus.offsets,
            mode="sum",
            per_sample_weights=self._corpus.weights,
            include_last_offset=True,
        ).T

    def _terms(self, texts: pl.Series) -> tuple[HashKeys, Integers]:
        """Texts (B,) -> keys (T,) of their terms, with repetitions, and the number of terms of each text (B,)."""
        raise NotImplementedError

    def _corpus_weights(self, bags: _Bags, found_in: Integers, lengths: Integers) -> NDArray[np.float64]:
        """(T,) weights of the candidates' terms; ``lengths`` (N,) counts repeated terms."""
        raise NotImplementedError

    def _query_weights(self, bags: _Bags, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        """(T,) weights of the queries' terms."""
        raise NotImplementedError


@dataclass(eq=False)
class TfIdf(TermIndex):
    """Cosine of TF-IDF vectors over letter trigrams within words.

    A weight is (1 + ln tf) (ln((1 + N) / (1 + df)) + 1), and each text's vector has length 1. The scores equal those of
    scikit-learn's ``TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True)``, fitted on the corpus.
    Whitespace alone separates words, so that words include punctuation, unlike the words of the text features.

    Example:
        >>> index = TfIdf()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> index.search(["copying files"]).argmax(dim=1).tolist()
        [1]
    """

    def _terms(self, texts: pl.Series) -> tuple[HashKeys, Integers]:
        return ngrams(_between_whitespace(texts), "letters", 3, 3)

    def _corpus_weights(self, bags: _Bags, found_in: Integers, lengths: Integers) -> NDArray[np.float64]:
        return self._query_weights(bags, found_in, len(lengths))

    def _query_weights(self, bags: _Bags, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        rarity = np.log((1.0 + num_candidates) / (1.0 + found_in)) + 1.0
        weights = (1.0 + np.log(bags.times)) * rarity[bags.term]
        norms = np.sqrt(np.bincount(bags.text, weights**2, minlength=len(bags.offsets) - 1))
        return np.asarray(weights / norms[bags.text])


@dataclass(eq=False)
class BM25(TermIndex):
    """Okapi BM25 over the words of :mod:`dssm_lightning.features.text.words_and_letters`.

    A candidate of l words that has a term tf times gets, for each occurrence of the term in the query,
    ln(1 + (N − df + ½) / (df + ½)) tf (k1 + 1) / (tf + k1 (1 − b + b l / mean l)).

    Source: Robertson and Zaragoza 2009; the logarithm is Lucene's, which is never negative.

    Example:
        >>> index = BM25()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> index.search(["copy"]).argmax(dim=1).tolist()
        [1]
    """

    k1: float = 1.2
    """How much repetitions of a word count: 0 ignores them; with a large value, each counts fully."""
    b: float = 0.75
    """How much the score of a long text is reduced, from 0 (not at all) to 1."""

    def _terms(self, texts: pl.Series) -> tuple[HashKeys, Integers]:
        keys, lengths = [], []
        for letters in pieces(normalised(texts)):
            hashes, starts = word_hashes(letters)
            keys.append(hashes)
            lengths.append(np.diff(starts))
        return np.concatenate(keys), np.concatenate(lengths)

    def _corpus_weights(self, bags: _Bags, found_in: Integers, lengths: Integers) -> NDArray[np.float64]:
        rarity = np.log1p((len(lengths) - found_in + 0.5) / (found_in + 0.5))
        length = 1.0 - self.b + self.b * lengths / max(float(lengths.mean()), 1e-12)
        repeats = bags.times * (self.k1 + 1.0) / (bags.times + self.k1 * length[bags.text])
        return np.asarray(rarity[bags.term] * repeats)

    def _query_weights(self, bags: _Bags, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        return bags.times.astype(np.float64)


def _series(texts: Sequence[str | None]) -> pl.Series:
    return pl.Series(values=texts, dtype=pl.String).fill_null("")


def _between_whitespace(texts: pl.Series) -> Letters:
    """Return lower-case texts (B,) as code points, with 0 in place of whitespace."""
    texts = texts.str.to_lowercase().str.replace_all(r"[\s\x00]", "\0")
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(texts.str.len_chars().to_numpy() + 1, out=starts[1:])
    joined = f"\0{texts.str.join(chr(0))[0]}\0"
    return Letters(np.frombuffer(joined.encode("utf-32-le"), "<u4")[: starts[-1] + 1].astype(np.uint32), starts)


def _bags(keys: HashKeys, lengths: Integers, vocabulary: HashKeys) -> _Bags:
    text = np.repeat(np.arange(len(lengths)), lengths)
    term = np.searchsorted(vocabulary, keys)
    known = np.flatnonzero(vocabulary[np.minimum(term, len(vocabulary) - 1)] == keys) if len(vocabulary) else term[:0]
    place, count = np.unique(text[known] * len(vocabulary) + term[known], return_counts=True)
    of_text, of_term = np.divmod(place, max(1, len(vocabulary)))
    return _Bags(of_term, count, np.searchsorted(of_text, np.arange(len(lengths) + 1)))


def _weighted(bags: _Bags, weights: NDArray[np.float64]) -> WeightedTexts:
    terms = Ragged(torch.from_numpy(bags.term), torch.from_numpy(bags.offsets))
    return WeightedTexts(terms, torch.from_numpy(weights.astype(np.float32)))
