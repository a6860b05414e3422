"""Texts as bags of terms, stored by term: for each term the texts that have it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.hashing import HashKeys

Integers = NDArray[np.int64]
Whole = NDArray[np.int32]
Floats = NDArray[np.float32]

_SHARE = 8  # a term that more than one text in 8 has is added as a dense row, if several queries have it
_AT_ONCE = 1 << 15  # entries, which stay in the second-level cache


class Postings(NamedTuple):
    """The distinct terms of B texts, by term and then by text. It is never changed.

    Example:
        >>> postings = Postings.of(np.array([7, 5, 7, 7], np.uint64), np.array([3, 0, 1]))  # terms of three texts
        >>> postings.terms.tolist(), postings.starts.tolist()
        ([5, 7], [0, 1, 3])
        >>> postings.texts.tolist(), postings.times.tolist(), postings.lengths.tolist()
        ([0, 0, 2], [1, 2, 1], [3, 0, 1])
    """

    terms: HashKeys  # (V,) ascending
    starts: Integers  # (V + 1,) the postings of term v are starts[v] … starts[v + 1]
    texts: Whole  # (T,) the text of each posting, ascending within a term
    times: Whole  # (T,) occurrences of the term in the text
    lengths: Whole  # (B,) number of terms of each text, repetitions included

    @classmethod
    def of(cls, keys: HashKeys, lengths: NDArray[Any]) -> Postings:
        """Sort the terms (·,) of texts, of which each has ``lengths`` (B,)."""
        order = np.argsort(keys, kind="stable")
        keys, texts = keys[order], np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        new_term = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=new_term[1:])
        new = new_term.copy()
        new[1:] |= texts[1:] != texts[:-1]
        first = np.flatnonzero(new)  # of each term in each text
        starts = np.flatnonzero(np.append(new_term[first], True))
        times = np.diff(first, append=len(keys)).astype(np.int32)
        return cls(keys[first[starts[:-1]]], starts, texts[first], times, np.asarray(lengths, np.int32))

    @property
    def num_texts(self) -> int:
        """B, the number of texts."""
        return len(self.lengths)

    @property
    def found_in(self) -> Integers:
        """(V,) the number of texts with each term."""
        found: Integers = self.starts[1:] - self.starts[:-1]
        return found

    def per_posting(self, values: NDArray[Any]) -> NDArray[Any]:
        """(V,) -> (T,): the value of the term of each posting."""
        return np.repeat(values, self.found_in)

    def extended(self, others: Postings) -> Postings:
        """Return the postings of these texts, followed by others."""
        terms = np.union1d(self.terms, others.terms)
        own, further = np.searchsorted(terms, self.terms), np.searchsorted(terms, others.terms)
        counts = np.zeros(len(terms), np.int64)
        counts[own] = self.found_in
        before = counts[further]  # postings of each of the other texts' terms that come first
        counts[further] += others.found_in
        starts = _starts(counts)
        place = _ranges(starts[own], self.found_in), _ranges(starts[further] + before, others.found_in)
        texts, times = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
        for each, new, first in zip(place, (self, others), (0, self.num_texts), strict=True):
            texts[each], times[each] = new.texts + np.int32(first), new.times
        return Postings(terms, starts, texts, times, np.concatenate([self.lengths, others.lengths]))

    def kept(self, mask: NDArray[np.bool_]) -> Postings:
        """Return the postings of the texts that a mask (B,) keeps, which are numbered anew."""
        number = np.cumsum(mask, dtype=np.int32) - np.int32(1)
        left = self._only(mask[self.texts])
        return left._replace(texts=number[left.texts], lengths=self.lengths[mask])

    def known_in(self, vocabulary: HashKeys) -> tuple[Postings, Integers]:
        """Return the postings of the terms that a vocabulary has, and the place of each term in it."""
        place = np.searchsorted(vocabulary, self.terms)
        if not len(vocabulary):
            return self._only(np.zeros(len(self.texts), np.bool_)), place[:0]
        known = vocabulary[np.minimum(place, len(vocabulary) - 1)] == self.terms
        return (self, place) if known.all() else (self._only(self.per_posting(known)), place[known])

    def _only(self, mask: NDArray[np.bool_]) -> Postings:
        """Return the postings that a mask (T,) keeps, without the terms that have none."""
        counts = np.diff(_starts(mask)[self.starts])
        terms = counts > 0
        return Postings(self.terms[terms], _starts(counts[terms]), self.texts[mask], self.times[mask], self.lengths)


def dot_products(corpus: Postings, weights: Floats, queries: Postings, places: Integers, own: Floats) -> Floats:
    """Return the products (Q, N) float32 of the weighted terms of queries and candidates.

    Only the postings of the queries' terms are read. Each product is summed in float32, in an order that depends on its
    query and on the corpus alone: neither other queries nor other candidates change a bit of it.

    Args:
        corpus: N candidates.
        weights: (T,) of their postings.
        queries: Q queries, with terms that the corpus has.
        places: the place of each term of the queries in the corpus.
        own: weights of the queries' postings.
    """
    products = np.zeros((queries.num_texts, corpus.num_texts), np.float32)
    first, counts = (queries.per_posting(each[places]) for each in (corpus.starts[:-1], corpus.found_in))
    frequent = counts * _SHARE > corpus.num_texts
    rare = np.flatnonzero(~frequent)
    rare = rare[np.argsort(queries.texts[rare], kind="stable")]
    parts = np.cumsum(counts[rare]) // _AT_ONCE
    for entries in np.split(rare, np.flatnonzero(np.diff(parts)) + 1):
        posting = _ranges(first[entries], counts[entries])
        cell = np.repeat(queries.texts[entries] * np.int64(corpus.num_texts), counts[entries])
        cell += corpus.texts[posting]
        np.add.at(products.reshape(-1), cell, weights[posting] * np.repeat(own[entries], counts[entries]))
    entries = np.flatnonzero(frequent)
    for same_term in np.split(entries, np.flatnonzero(np.diff(first[entries])) + 1):
        if len(same_term):
            postings = slice(first[same_term[0]], first[same_term[0]] + counts[same_term[0]])
            _add_term(products, corpus.texts[postings], weights[postings], queries.texts[same_term], own[same_term])
    return products


def _add_term(products: Floats, texts: Whole, weights: Floats, queries: Whole, own: Floats) -> None:
    """Add a term's postings (t,) to the rows of its queries (q,); the sums are those of one posting after the other."""
    columns = texts.astype(np.intp)  # NumPy is slow with other types
    if len(queries) == 1:
        np.add.at(products[queries[0]], columns, weights * own[0])
        return
    dense, product = np.zeros(products.shape[1], np.float32), np.empty(products.shape[1], np.float32)
    dense[columns] = weights
    for query, weight in zip(queries.tolist(), own, strict=True):
        products[query] += dense if weight == 1 else np.multiply(dense, weight, out=product)


def _starts(counts: NDArray[Any]) -> Integers:
    """(V,) -> (V + 1,): the sum of the counts before each, and of all."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _ranges(first: Integers, counts: Integers) -> Integers:
    """Return first[0], first[0] + 1, … (counts[0] numbers), then those from first[1] on, and so forth."""
    ends = np.cumsum(counts)
    numbers = np.repeat(first - ends + counts, counts)
    numbers += np.arange(len(numbers))
    return numbers
