"""Split whole columns of text into words and letters, without a loop over texts, words or characters.

The rules, version 1 of the algorithm (see :data:`VERSION`) together with the hashes of ``ngrams.py``:

1. A text becomes ``NFKC(casefold(NFKC(text)))``: spellings that differ in case, width or ligatures become equal
   (Unicode, D146). A run of more than 30 combining marks is divided by U+034F first (UAX #15, D4).
2. Whitespace and control characters end a word. Punctuation ends a word, with these exceptions:

   - A joiner (``. ' & @ * : ·``, a dash or ``_``) between two letters stays: *node.js*, *don't*, *sci-fi*, *at&t*.
   - ``# % +``, digits, combining marks and symbols such as emoji are letters: *c#*, *c++*, *50%*, *1995* in *(1995)*.
   - Punctuation between two blanks stays as a word: *!?*. Every visible text therefore has a word.

3. The code point 0 separates words. No word contains it, because it is a control character.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.unicode_folding import folded_column, folded_texts

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
"""Increase this number whenever any text would get other words or ids. Every fitted text feature records it."""

Counts = NDArray[np.int64]

_PIECE = 1 << 16  # number of characters processed at once, so that the arrays fit into the second-level cache
_UTF32 = f"utf-32-{sys.byteorder[0]}e"
_SPACE, _LETTER, _JOINER, _MARK = range(4)
_JOINERS, _LETTERS, _MARKS = frozenset(".'’&@*:·"), frozenset("#%+"), frozenset("<=>^`|~")
_ALPHANUMERIC = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123))
_LAST = 0x1FFFF  # a letter that represents all higher code points, none of which is punctuation or whitespace


class Letters(NamedTuple):
    """The code points of B texts; 0 between words. Text b is ``codes[starts[b] : starts[b + 1]]``.

    Example:
        >>> letters = next(pieces_of(["At sea", "C#"]))
        >>> letters.codes.tobytes().replace(bytes(1), b"-"), letters.starts.tolist()
        (b'-at-sea-c#-', [0, 7, 10])
    """

    codes: NDArray[np.uint8] | NDArray[np.uint32]  # (starts[B] + 1,) begins and ends with 0
    starts: Counts  # (B + 1,) the boundary before each text, and the boundary after the last text


def normalised(texts: pl.Series) -> pl.Series:
    """Normalise the spelling of texts (B,), which is step 1; null becomes the empty text."""
    import polars as pl

    texts = texts.fill_null("")
    foreign = has_foreign(texts)
    if not foreign.any():
        return texts.str.to_lowercase()  # equals step 1 for ASCII
    plain, rest = texts.filter(~foreign).str.to_lowercase(), texts.filter(foreign)
    row = np.empty(len(texts), np.int64)
    row[np.argsort(foreign.to_numpy(), kind="stable")] = np.arange(len(texts))
    spelled: pl.Series = pl.concat([plain, folded_column(rest)]).gather(row)
    return spelled


def normalised_texts(texts: Sequence[str]) -> list[str]:
    """Normalise the spelling of texts (B,) as :func:`normalised` does, without Polars."""
    foreign = [row for row, text in enumerate(texts) if not text.isascii()]
    spelled = [text.lower() for text in texts]  # equals step 1 for ASCII
    for row, text in zip(foreign, folded_texts([texts[row] for row in foreign]), strict=True):
        spelled[row] = text
    return spelled


def has_foreign(texts: pl.Series) -> pl.Series:
    """Return (B,) bool: whether each text has a character that is not ASCII."""
    foreign: pl.Series = texts.str.len_bytes() != texts.str.len_chars()
    return foreign


def pieces(texts: pl.Series) -> Iterator[Letters]:
    """Yield the letters of normalised texts (B,), some texts at a time, in order; at least one piece."""
    joined = f"\0{texts.str.join(chr(0))[0]}\0"
    lengths = texts.str.len_bytes() if joined.isascii() else texts.str.len_chars()  # bytes are cheaper to count
    return _cut(joined, lengths.to_numpy())


def pieces_of(texts: Sequence[str]) -> Iterator[Letters]:
    """Normalise texts (B,), and yield their letters as :func:`pieces` does, without Polars.

    Up to some thousand texts, this is faster than a column is.
    """
    return spelled_pieces(normalised_texts(texts))


def spelled_pieces(texts: Sequence[str]) -> Iterator[Letters]:
    """Yield the letters of normalised texts (B,) as :func:`pieces` does, without Polars."""
    return _cut("\0".join(["", *texts, ""]), np.fromiter(map(len, texts), np.int64, len(texts)))


def _cut(joined: str, lengths: NDArray[Any]) -> Iterator[Letters]:
    """Yield the letters of texts of the given lengths (B,), which stand between U+0000, some texts at a time."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    starts += np.arange(len(starts))  # the boundaries
    if starts[-1] < _PIECE:
        yield Letters(_codes(joined[: starts[-1] + 1]), starts)
        return
    cuts = np.searchsorted(starts[:-1], np.arange(0, int(starts[-1]) + 1, _PIECE))
    edges = np.unique(np.append(cuts, len(lengths)))
    for first, last in zip(edges.tolist(), edges[1:].tolist(), strict=False):
        piece = starts[first : last + 1]
        yield Letters(_codes(joined[piece[0] : piece[-1] + 1]), piece - piece[0])


def _codes(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the code points (P,) of a text that begins and ends with U+0000; 0 for every character outside a word."""
    codes: NDArray[np.uint8] | NDArray[np.uint32]
    if text.isascii():  # the same with a quarter of the memory
        raw = bytearray(text, "ascii")
        codes, kinds = np.frombuffer(raw, np.uint8), np.frombuffer(raw.translate(_ascii_kinds()), np.uint8)
    else:
        codes = np.frombuffer(bytearray(text, _UTF32), np.uint32)
        kinds = _kinds(_LAST + 1).take(codes, mode="clip")
    codes *= kinds != _SPACE
    codes[_silent(kinds)] = 0
    return codes


def _silent(kinds: NDArray[np.uint8]) -> Counts:
    """Return the places of the punctuation outside words. Only punctuation is examined, which is rare."""
    place = np.flatnonzero(kinds > _LETTER)
    if not len(place):
        return place
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


def most_words(text: str) -> int:
    """Return a number that the words of a text do not exceed, without splitting it.

    A word ends at a character that is neither a letter nor a digit.

    Example:
        >>> most_words("red shoes"), most_words("a, b"), most_words("ﷺ")  # a character that stands for four words
        (2, 3, 4)
    """
    if not text.isascii():
        return 1 + sum(not letter.isalnum() for letter in folded_texts([text])[0])
    return 1 + len(text.encode().translate(None, _ALPHANUMERIC))


def is_visible(text: str) -> bool:
    """Return whether a text has a character that is neither whitespace nor a control character."""
    return any(_kind(letter) != _SPACE for letter in text)


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
    """Return the place where each word begins (W,), and the number of the first word of each text (B + 1,)."""
    real = letters.codes != 0
    begins = np.flatnonzero(real[1:] > real[:-1]) + 1
    return begins, np.searchsorted(begins, letters.starts)


def word_lengths(letters: Letters) -> tuple[Counts, Counts]:
    """Return the number of letters of each word (W,), and the number of words of each text (B,)."""
    begins, starts = word_places(letters)
    first = np.searchsorted(np.flatnonzero(letters.codes), begins)
    return np.diff(first, append=np.count_nonzero(letters.codes)), np.diff(starts)


def word_strings(texts: pl.Series) -> tuple[pl.Series, Counts]:
    """Return the words (W,) of normalised texts (B,), in order, and the number of words of each text (B,)."""
    import polars as pl

    words, counts = [], []
    for letters in pieces(texts):
        words.append(pl.Series(words_of(letters), dtype=pl.String))
        counts.append(np.diff(word_places(letters)[1]))
    return pl.concat(words), np.concatenate(counts)


def word_texts(texts: Sequence[str]) -> tuple[list[str], Counts]:
    """Return what :func:`word_strings` returns, without Polars."""
    words, counts = [], []
    for letters in spelled_pieces(texts):
        words += words_of(letters)
        counts.append(np.diff(word_places(letters)[1]))
    return words, np.concatenate(counts)


def words_of(letters: Letters) -> list[str]:
    """Return the words (W,) of texts, in order."""
    real = letters.codes != 0
    kept = letters.codes[1:][real[1:] | real[:-1]]  # each word, and one boundary after it
    text: str = kept.astype(np.uint32).tobytes().decode(_UTF32)
    return text.split("\0")[:-1]
