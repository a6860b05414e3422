"""N-grams of letters or words as 64-bit keys, for whole columns at once; equal on every machine.

A word begins and ends with a boundary, the code point 0, which no text can contain. Documentation writes it ``#``: the
trigrams of *cat* are ``#ca cat at#``. The key of an n-gram is the number whose digits in base :data:`BASE` are its
symbols, plus n × :data:`GOLDEN`, modulo 2^64. A letter's symbol is its code point; a word's symbol is a hash of its
letters and their places. An id is the upper half of the mixed key, scaled to the number of buckets
(:func:`~dssm_lightning.utils.hashing.buckets`).
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.words_and_letters import Counts, Letters, word_places, words_of
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_

BASE = (1 << 21) + 1
"""Odd, so that no digit is lost modulo 2^64; above every code point and below the cube root of 2^64, so that different
n-grams of up to three letters have different keys."""

_MANY = 1 << 14
"""Number of keys from which a join of Polars is faster than a binary search of each key."""


def ngrams(letters: Letters, unit: Literal["letters", "words"], min_n: int, max_n: int) -> tuple[HashKeys, Counts]:
    """Return the keys (T,) of all n-grams with min_n <= n <= max_n, and the number of n-grams of each text (B,).

    Keys are ordered by text, then place, then n. An n-gram of letters lies within a word and its two boundaries, and
    has at least one letter; a word of fewer than n − 2 letters has none. An n-gram of words lies within a text; a text
    of fewer than n words has none.
    """
    if unit == "letters":
        symbols, starts = letters.codes[:-1].astype(np.uint64), letters.starts
        exists = _letter_windows(letters, min_n, max_n)
    else:
        symbols, starts = word_hashes(letters)
        end = np.repeat(starts[1:], np.diff(starts))  # (W,) end of the text of each word
        exists = [np.arange(n, n + len(symbols)) <= end for n in range(min_n, max_n + 1)]
    is_ngram = _interleaved(exists)
    keys = _interleaved(_keys(symbols, min_n, max_n)).take(np.flatnonzero(is_ngram))  # (T,)
    before = np.zeros(len(is_ngram) + 1, np.int32)  # a running count is cheaper than a search for each text's first
    np.cumsum(is_ngram, dtype=np.int32, out=before[1:])
    first = before[starts * len(exists)].astype(np.int64)  # number of each text's first n-gram
    return keys, first[1:] - first[:-1]


def ngram_texts(letters: Letters, unit: Literal["letters", "words"], min_n: int, max_n: int) -> list[str]:
    """Return the n-grams of one text as texts, in the order of :func:`ngrams`; ``#`` is the boundary of a word.

    Example:
        >>> from dssm_lightning.features.text.words_and_letters import pieces_of
        >>> letters = next(pieces_of(["the cat"]))
        >>> ngram_texts(letters, "letters", 3, 3), ngram_texts(letters, "words", 1, 2)
        (['#th', 'the', 'he#', '#ca', 'cat', 'at#'], ['the', 'the cat', 'cat'])
    """
    if unit == "words":
        words = words_of(letters)
        sizes = range(min_n, max_n + 1)
        return [
            " ".join(words[place : place + n]) for place in range(len(words)) for n in sizes if place + n <= len(words)
        ]
    is_ngram = _interleaved(_letter_windows(letters, min_n, max_n))
    text = "".join(map(chr, letters.codes.tolist())).replace("\0", "#")
    places, extra = np.divmod(np.flatnonzero(is_ngram), max_n - min_n + 1)
    return [text[place : place + min_n + more] for place, more in zip(places.tolist(), extra.tolist(), strict=True)]


def _interleaved(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.stack(columns, 1).ravel()


def _letter_windows(letters: Letters, min_n: int, max_n: int) -> list[NDArray[np.bool_]]:
    """Return for each n whether an n-gram starts at each place (starts[B],)."""
    places = len(letters.codes) - 1
    real = np.zeros(places + max_n, np.bool_)
    np.not_equal(letters.codes, 0, out=real[: places + 1])
    windows = [real[:places], real[:places] | real[1 : places + 1]]
    for n in range(3, max_n + 1):  # only the first and the last symbol may be boundaries
        inner = real[n - 2 : n - 2 + places]
        windows.append(inner if n == 3 else windows[-1] & inner)
    return windows[min_n - 1 : max_n]


def _keys(symbols: HashKeys, min_n: int, max_n: int) -> list[HashKeys]:
    """Return for each n the keys of the n symbols from each place on; zeros follow the last symbol."""
    digits, keys = symbols, []
    for n in range(1, max_n + 1):
        if n == 2:
            digits = digits * np.uint64(BASE)  # not in place, because the symbols are needed again
        elif n > 2:
            digits *= np.uint64(BASE)
        if n > 1:
            digits[: 1 - n] += symbols[n - 1 :]
        if n == max_n > 1:
            digits += salt(n)
            keys.append(digits)
        elif n >= min_n:
            keys.append(digits + salt(n))
    return keys


def salt(n: int) -> np.uint64:
    """Return the number that distinguishes the keys of n-grams of different n."""
    total: np.uint64 = np.uint64((n * GOLDEN) & ((1 << 64) - 1))
    return total


def word_hashes(letters: Letters) -> tuple[HashKeys, Counts]:
    """Return a hash of each word (W,), and the number of the first word of each text (B + 1,).

    A hash is the mixed sum of the mixed (letter, place) pairs of the word.
    """
    begins, starts = word_places(letters)
    place = np.flatnonzero(letters.codes)
    first = np.searchsorted(place, begins)  # number of each word's first letter
    digits = (place - np.repeat(begins, np.diff(first, append=len(place)))).astype(np.uint64)
    digits *= np.uint64(GOLDEN)
    digits += letters.codes[place]
    mixed = mix64_(digits)
    return mix64_(np.add.reduceat(mixed, first) if len(first) else mixed), starts


def lookup(keys: HashKeys, known: HashKeys, rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the row (T,) of each key; 0 for an unknown key.

    Args:
        keys: (T,).
        known: (V,) the known keys, ascending.
        rows: (V,) the row of each known key.
    """
    if len(known) == 0:
        return np.zeros(len(keys), np.int32)
    if len(keys) >= max(len(known), _MANY) and "polars" in sys.modules:  # every column brings it
        import polars as pl

        found = pl.Series(keys).replace_strict(pl.Series(known), pl.Series(rows), default=0, return_dtype=pl.Int32)
        ids: NDArray[np.int32] = found.to_numpy(writable=True)
        return ids
    # The join above hashes all known keys in each call, which is too slow for few keys.
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[place] == keys, rows[place], np.int32(0))
