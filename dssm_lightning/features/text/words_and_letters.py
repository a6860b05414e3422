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
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.character_kinds import JOINER, LETTER, SPACE, kinds
from dssm_lightning.features.text.spelled_columns import spell
from dssm_lightning.features.text.spelling_table import CODE, KIND, Spelled
from dssm_lightning.features.text.unicode_folding import folded_texts

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
"""Increase this number whenever any text would get other words or ids. Every fitted text feature records it."""

Counts = NDArray[np.int64]

_PIECE = 1 << 16  # number of characters processed at once, so that the arrays fit into the second-level cache
_UTF32 = f"utf-32-{sys.byteorder[0]}e"
MANY = 1 << 16
"""Number of bytes from which a column that is not ASCII is spelled by a table, which takes a fifth of a second to make,
once in a process."""

_ALPHANUMERIC = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123))


class Letters(NamedTuple):
    """The code points of B texts; 0 between words. Text b is ``codes[starts[b] : starts[b + 1]]``.

    Example:
        >>> letters = next(pieces_of(["At sea", "C#"]))
        >>> letters.codes.tobytes().replace(bytes(1), b"-"), letters.starts.tolist()
        (b'-at-sea-c#-', [0, 7, 10])
    """

    codes: NDArray[np.uint8] | NDArray[np.uint32]  # (starts[B] + 1,) begins and ends with 0
    starts: Counts  # (B + 1,) the boundary before each text, and the boundary after the last text


def normalised_texts(texts: Sequence[str]) -> list[str]:
    """Normalise the spelling of texts (B,), which is step 1."""
    foreign = [row for row, text in enumerate(texts) if not text.isascii()]
    spelled = [text.lower() for text in texts]  # equals step 1 for ASCII
    for row, text in zip(foreign, folded_texts([texts[row] for row in foreign]), strict=True):
        spelled[row] = text
    return spelled


def pieces(texts: pl.Series) -> Iterator[Letters]:
    """Yield the letters of texts (B,), some texts at a time, in order; at least one piece. Null is the empty text."""
    import polars as pl

    texts, edge = texts.fill_null(""), pl.Series([""])
    raw: bytes = pl.concat([edge, texts.alias(""), edge]).str.join("\0").cast(pl.Binary)[0]
    is_ascii = raw.isascii()
    if not is_ascii and len(raw) < MANY:
        return pieces_of(texts.to_list())
    places = _starts(texts.str.len_bytes().to_numpy())
    return _cut_column(raw, places, places if is_ascii else _starts(texts.str.len_chars().to_numpy()))


def _cut_column(raw: bytes, places: Counts, starts: Counts) -> Iterator[Letters]:
    """Yield the letters of texts in UTF-8 with U+0000 around them, whose bytes and characters begin at (B + 1,)."""
    for first, last in _edges(places, 2 * _PIECE):  # most letters that are not Latin are two bytes or three
        part = raw[places[first] : places[last] + 1]
        begins = starts[first : last + 1] - starts[first]
        yield Letters(_ascii_codes(part), begins) if part.isascii() else _spelled_letters(*spell(part.decode(), begins))


def pieces_of(texts: Sequence[str]) -> Iterator[Letters]:
    """Yield the letters of texts (B,) as :func:`pieces` does, without Polars.

    Up to some thousand texts, this is faster than a column is.
    """
    return spelled_pieces(normalised_texts(texts))


def spelled_pieces(texts: Sequence[str]) -> Iterator[Letters]:
    """Yield the letters of normalised texts (B,) as :func:`pieces` does, without Polars."""
    joined = "\0".join(["", *texts, ""])
    starts = _starts(np.fromiter(map(len, texts), np.int64, len(texts)))
    for first, last in _edges(starts, _PIECE):
        part, begins = joined[starts[first] : starts[last] + 1], starts[first : last + 1] - starts[first]
        yield Letters(_ascii_codes(part.encode()) if part.isascii() else _codes(part), begins)


def _starts(lengths: NDArray[Any]) -> Counts:
    """Return the places (B + 1,) of the boundaries around texts of the given lengths (B,)."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    starts += np.arange(len(starts))
    return starts


def _edges(starts: Counts, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first text of each piece of about the given size, and the first text after it."""
    if starts[-1] < size:
        return iter([(0, len(starts) - 1)])
    cuts = np.searchsorted(starts[:-1], np.arange(0, int(starts[-1]) + 1, size))
    return pairwise(np.unique(np.append(cuts, len(starts) - 1)).tolist())


def _ascii_codes(raw: bytes) -> NDArray[np.uint8]:
    """Return the code points (P,) of a text that begins and ends with U+0000; 0 for every character outside a word."""
    to_letter, to_kind = _ascii_tables()
    codes = np.frombuffer(bytearray(raw.translate(to_letter)), np.uint8)  # the same with a quarter of the memory
    kind = np.frombuffer(raw.translate(to_kind), np.uint8)
    place = np.flatnonzero(kind > LETTER)
    codes[_silent(place, kind[place], kind[place - 1], kind[place + 1])] = 0
    return codes


def _codes(text: str) -> NDArray[np.uint32]:
    """Return the same of a text that is normalised and not ASCII."""
    codes = np.frombuffer(bytearray(text, _UTF32), np.uint32)
    kind = kinds().take(codes, mode="clip")
    place = np.flatnonzero(kind > LETTER)
    codes *= kind != SPACE
    codes[_silent(place, kind[place], kind[place - 1], kind[place + 1])] = 0
    return codes


def _spelled_letters(spelled: Spelled, starts: Counts) -> Letters:
    """Return the letters of texts that are spelled by the table."""
    place = np.flatnonzero(spelled >= np.uint32(JOINER) << KIND)
    silent = _silent(place, *(spelled[place + step] >> KIND for step in (0, -1, 1)))
    spelled &= CODE
    spelled[silent] = 0
    return Letters(spelled, starts)


def _silent(place: Counts, kind: NDArray[Any], before: NDArray[Any], after: NDArray[Any]) -> Counts:
    """Return the places of the punctuation outside words, of all punctuation, given the kinds there and around it."""
    if not len(place):
        return place
    joins = (kind == JOINER) & (before == LETTER) & (after == LETTER)
    first, last = np.flatnonzero(before <= LETTER), np.flatnonzero(after <= LETTER)  # of each run of neighbours
    alone = (before[first] == SPACE) & (after[last] == SPACE)
    silent: Counts = place[~(joins | np.repeat(alone, last - first + 1))]
    return silent


@cache
def _ascii_tables() -> tuple[bytes, bytes]:
    """Return tables of the letters, 0 for a blank, and of the kinds of ASCII; the second half is not used."""
    kind = kinds(128)
    letter = np.frombuffer(bytes(range(128)).lower(), np.uint8) * (kind != SPACE)
    return letter.tobytes().ljust(256, b"\0"), kind.tobytes().ljust(256, b"\0")


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
    """Return the words (W,) of texts (B,), in order, and the number of words of each text (B,)."""
    import polars as pl

    words, counts = [], []
    for letters in pieces(texts):
        words.append(pl.Series(words_of(letters), dtype=pl.String))
        counts.append(np.diff(word_places(letters)[1]))
    return pl.concat(words), np.concatenate(counts)


def single_words(texts: pl.Series) -> tuple[pl.Series, Counts]:
    """Return the words (W,) that are texts on their own, without blanks or punctuation around them, and their rows.

    Example:
        >>> import polars as pl
        >>> words, rows = single_words(pl.Series(["Cat", "a cat", "(cat)", "c#"]))
        >>> words.to_list(), rows.tolist()
        (['cat', 'c#'], [0, 3])
    """
    import polars as pl

    words, rows, before = [], [], 0
    for letters in pieces(texts):
        _, first = word_places(letters)
        count = np.diff(np.cumsum(letters.codes != 0, dtype=np.int64)[letters.starts])  # letters of each text
        whole = np.flatnonzero((count > 0) & (count == np.diff(letters.starts) - 1))
        words.append(pl.Series(words_of(letters), dtype=pl.String)[first[whole]])
        rows.append(whole + before)
        before += len(count)
    return pl.concat(words), np.concatenate(rows)


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
