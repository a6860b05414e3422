"""Whole columns of text as code points with word boundaries. Nothing here loops over texts, words or characters.

What a text's words are (with ``hashing.py``: version 1 of the algorithm, see :data:`VERSION`):

1. A text becomes ``NFKC(casefold(NFKC(text)))``: one spelling, whatever its case, width or ligatures (Unicode, D146).
2. Whitespace and control characters end a word. So does punctuation, except that

   - a joiner (``. ' & @ * : ·``, a dash or ``_``) stays between two letters: *node.js*, *don't*, *sci-fi*, *at&t*;
   - ``# % +``, digits, marks and symbols, emoji among them, are letters: *c#*, *c++*, *50%*, *1995* in *(1995)*;
   - what has no letter at all stays whole: *!?* is a word, so that every visible text has one.

3. Between words stands the code point 0. No word contains it, being a control character it ends words itself.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features.text.unicode_folding import folded_column

VERSION = 1
"""Raised whenever some text would get other words or other ids than before; part of every fitted text feature."""

Counts = NDArray[np.int64]

_PIECE = 1 << 16  # characters worked on at once: the arrays of a piece then fit into a second-level cache
_UTF32 = f"utf-32-{sys.byteorder[0]}e"
_SPACE, _LETTER, _JOINER, _MARK = range(4)
_JOINERS, _LETTERS, _MARKS = frozenset(".'’&@*:·"), frozenset("#%+"), frozenset("<=>^`|~")
_LAST = 0x1FFFF  # a letter, and above it there is neither punctuation nor whitespace: it stands for all of them


class Letters(NamedTuple):
    """Code points of B texts, 0 wherever no letter is. Text b is ``codes[starts[b] : starts[b + 1]]``."""

    codes: NDArray[np.uint8] | NDArray[np.uint32]  # (starts[B] + 1,) begins and ends with 0
    starts: Counts  # (B + 1,) the boundary before each text, and the one after the last


def normalised(texts: pl.Series) -> pl.Series:
    """Texts (B,) in one spelling (step 1); null becomes the empty text."""
    texts = texts.fill_null("")
    foreign = has_foreign(texts)
    if not foreign.any():
        return texts.str.to_lowercase()  # of ASCII, all that step 1 does
    plain, rest = texts.filter(~foreign).str.to_lowercase(), texts.filter(foreign)
    row = np.empty(len(texts), np.int64)
    row[np.argsort(foreign.to_numpy(), kind="stable")] = np.arange(len(texts))
    spelled: pl.Series = pl.concat([plain, folded_column(rest)]).gather(row)
    return spelled


def has_foreign(texts: pl.Series) -> pl.Series:
    """(B,) bool: whether each text holds anything but ASCII."""
    foreign: pl.Series = texts.str.len_bytes() != texts.str.len_chars()
    return foreign


def pieces(texts: pl.Series) -> Iterator[Letters]:
    """The letters of normalised texts (B,), some texts at a time, in order; at least one piece."""
    joined = f"\0{texts.str.join(chr(0))[0]}\0"
    lengths = texts.str.len_bytes() if joined.isascii() else texts.str.len_chars()  # bytes need not be counted
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths.to_numpy() + 1, out=starts[1:])
    cuts = np.searchsorted(starts[:-1], np.arange(0, int(starts[-1]) + 1, _PIECE))
    edges = np.unique(np.append(cuts, len(texts)))
    for first, last in zip(edges.tolist(), edges[1:].tolist() or [len(texts)], strict=False):
        piece = starts[first : last + 1]
        yield Letters(_codes(joined[piece[0] : piece[-1] + 1]), piece - piece[0])


def _codes(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """(P,) the code points of a text that begins and ends with U+0000, 0 wherever no letter is."""
    codes: NDArray[np.uint8] | NDArray[np.uint32]
    if text.isascii():  # the same, on a quarter of the memory
        raw = bytearray(text, "ascii")
        codes, kinds = np.frombuffer(raw, np.uint8), np.frombuffer(raw.translate(_ascii_kinds()), np.uint8)
    else:
        codes = np.frombuffer(bytearray(text, _UTF32), np.uint32)
        kinds = _kinds(_LAST + 1).take(codes, mode="clip")
    codes *= kinds != _SPACE
    codes[_silent(kinds)] = 0
    return codes


def _silent(kinds: NDArray[np.uint8]) -> Counts:
    """Places of the punctuation that belongs to no word. All is done on the few characters that are punctuation."""
    place = np.flatnonzero(kinds > _LETTER)
    before, after = kinds[place - 1], kinds[place + 1]
    joins = (kinds[place] == _JOINER) & (before == _LETTER) & (after == _LETTER)
    first, last = np.flatnonzero(before <= _LETTER), np.flatnonzero(after <= _LETTER)  # of each run of neighbours
    alone = (before[first] == _SPACE) & (after[last] == _SPACE)
    silent: Counts = place[~(joins | np.repeat(alone, last - first + 1))]
    return silent


@lru_cache(maxsize=2)
def _kinds(stop: int) -> NDArray[np.uint8]:
    return np.fromiter(map(_kind, map(chr, range(stop))), np.uint8, stop)


@lru_cache(maxsize=1)
def _ascii_kinds() -> bytes:
    return _kinds(128).tobytes().ljust(256, b"\0")


def _kind(letter: str) -> int:
    category = unicodedata.category(letter)
    if category == "Cc" or category[0] == "Z":
        return _SPACE
    if letter in _LETTERS:
        return _LETTER
    if letter in _JOINERS or category in ("Pd", "Pc"):
        return _JOINER
    return _MARK if category[0] == "P" or letter in _MARKS else _LETTER


def word_places(letters: Letters) -> tuple[Counts, Counts]:
    """Where each word begins (W,), and each text's first word (B + 1,)."""
    real = letters.codes != 0
    begins = np.flatnonzero(real[1:] > real[:-1]) + 1
    return begins, np.searchsorted(begins, letters.starts)


def word_lengths(letters: Letters) -> tuple[Counts, Counts]:
    """How many letters each word has (W,), and how many words each text (B,)."""
    begins, starts = word_places(letters)
    first = np.searchsorted(np.flatnonzero(letters.codes), begins)
    return np.diff(first, append=np.count_nonzero(letters.codes)), np.diff(starts)


def word_strings(texts: pl.Series) -> tuple[pl.Series, Counts]:
    """The words (W,) of normalised texts (B,), in order, and how many each text has (B,)."""
    words, counts = [], []
    for letters in pieces(texts):
        real = letters.codes != 0
        kept = letters.codes[1:][real[1:] | real[:-1]]  # each word, and one boundary after it
        text = kept.astype(np.uint32).tobytes().decode(_UTF32)
        words.append(pl.Series([text], dtype=pl.String).str.split("\0").explode().head(text.count("\0")))
        counts.append(np.diff(word_places(letters)[1]))
    return pl.concat(words), np.concatenate(counts)
