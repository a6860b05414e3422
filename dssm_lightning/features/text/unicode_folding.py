"""Normalise the spelling of whole text columns: ``NFKC(casefold(NFKC(text)))`` (Unicode, D146).

The table in this module exists for speed only; a test compares its results with Python's ``unicodedata``. The
normalised form of most characters does not depend on their neighbours, so it can be looked up for a whole column at
once. Only texts with other characters go through ``unicodedata``, which is slow for texts that are not in normal form
yet: with the table, hashing trigrams of Bengali, Hindi, Thai, Japanese, Korean and Chinese runs at 22 MB/s instead of
15 MB/s on one core. Texts that are in normal form already, such as most Cyrillic ones, gain nothing.

``unicodedata`` sorts a run of combining marks in quadratic time. A run of more than 30 marks, which no language has, is
divided first, as Unicode's Stream-Safe Text Format does (UAX #15, D4).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

SEPARATOR = "\x01"
"""Separates texts that are normalised together; no character composes with it."""
MANY = 1 << 16
"""Number of characters from which the table is used. Building it takes a third of a second, once in a process."""

MAX_MARKS = 30
"""Longest run of combining marks; longer runs are divided by U+034F, the combining grapheme joiner."""

_MANY_MARKS = rf"[\p{{M}}\x{{FF9E}}\x{{FF9F}}]{{{MAX_MARKS + 1}}}"  # U+FF9E and U+FF9F decompose to marks
_STOP = 0x20000
_UTF32 = f"utf-32-{sys.byteorder[0]}e"


def folded(text: str) -> str:
    """Normalise case, width and ligatures of one text.

    Example:
        >>> folded("ＣＡＦÉ ﬁne Straße")
        'café fine strasse'
    """
    return _folded(_divided(text))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def folded_column(texts: pl.Series) -> pl.Series:
    """Normalise texts (B,); a separator within a text becomes a blank."""
    import polars as pl

    if texts.is_empty():
        return texts
    long = texts.str.contains(_MANY_MARKS).fill_null(False).arg_true()
    if len(long):
        texts = texts.scatter(long, [_divided(text) for text in texts[long]])
    joined = texts.str.join(SEPARATOR)[0]
    if joined.count(SEPARATOR) >= len(texts):  # some text holds one
        joined = texts.str.replace_all(SEPARATOR, " ", literal=True).str.join(SEPARATOR)[0]
    return pl.Series(_folded_parts(joined), dtype=pl.String)


def folded_texts(texts: Sequence[str]) -> list[str]:
    """Normalise texts (B,) as :func:`folded_column` does, without Polars.

    Example:
        >>> folded_texts(["ＣＡＦÉ", "Straße"])
        ['café', 'strasse']
    """
    if not texts:
        return []
    joined = SEPARATOR.join(map(_divided, texts))
    if joined.count(SEPARATOR) >= len(texts):  # some text holds one
        joined = SEPARATOR.join(_divided(text).replace(SEPARATOR, " ") for text in texts)
    return _folded_parts(joined)


def _folded_parts(joined: str) -> list[str]:
    """Normalise the texts, at least one, that are joined by separators."""
    if len(joined) < MANY:
        return _folded(joined).split(SEPARATOR)
    codes = np.frombuffer(joined.encode(_UTF32), np.uint32)
    table = _spellings()
    hard = _hard(codes, table)
    normalised = table.code.take(codes, mode="clip").tobytes().decode(_UTF32).split(SEPARATOR)
    ends = np.flatnonzero(codes == ord(SEPARATOR))
    rows = np.unique(np.searchsorted(ends, hard))  # texts that need `unicodedata`
    if len(rows):
        first, last = np.append(-1, ends)[rows] + 1, np.append(ends, len(joined))[rows]
        texts = SEPARATOR.join([joined[i:j] for i, j in zip(first.tolist(), last.tolist(), strict=True)])
        for row, text in zip(rows.tolist(), _folded(texts).split(SEPARATOR), strict=True):
            normalised[row] = text
    return normalised


def _divided(text: str) -> str:
    """Divide runs of more than 30 combining marks."""
    if text.isascii() or len(text) <= MAX_MARKS:
        return text
    marks = [letter for letter in set(text) if _is_mark(letter)]
    if sum(map(text.count, marks)) <= MAX_MARKS:  # spares the pattern, which takes half a second to make
        return text
    return _marks().sub("\\1\u034f", text)


def _is_mark(letter: str) -> bool:
    """Return whether a character decomposes to combining marks."""
    return unicodedata.combining(unicodedata.normalize("NFKD", letter)[0]) > 0


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    """Return the pattern of 30 characters that decompose to combining marks, if another one follows."""
    points = (chr(point) for point in range(0x300, sys.maxunicode + 1) if not 0xAC00 <= point < 0xE000)  # no Hangul
    marks = "".join(filter(_is_mark, points))
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})(?=[{marks}])")


class _Spellings(NamedTuple):
    """A table of the code points below ``_STOP``; the last row represents all higher code points."""

    code: NDArray[np.uint32]  # normalised form of an easy character
    easy: NDArray[np.bool_]  # whether the normalised form is one character that never joins with the one before it
    first: NDArray[np.uint8]  # canonical combining class of the first character of the decomposition, and …
    last: NDArray[np.uint8]  # … of the last one; a mark (class > 0) may not follow a character of a higher class


def _hard(codes: NDArray[np.uint32], table: _Spellings) -> NDArray[np.int64]:
    """Return the places of characters whose form depends on their neighbours or has more than one character."""
    first = table.first.take(codes, mode="clip")
    marks = np.flatnonzero(first)
    before = table.last.take(codes[marks - 1], mode="clip")  # before a text's first mark is the separator, or index −1
    disordered = marks[(before > first[marks]) | (marks == 0)]
    return np.union1d(np.flatnonzero(~table.easy.take(codes, mode="clip")), disordered)


@lru_cache(maxsize=1)
def _spellings() -> _Spellings:
    joining = _joining()
    code = np.arange(_STOP, dtype=np.uint32)
    easy, first, last = np.zeros(_STOP, np.bool_), np.zeros(_STOP, np.uint8), np.zeros(_STOP, np.uint8)
    for point in range(_STOP - 1):  # the last row stays not easy, because it represents all higher code points
        letter = chr(point)
        if 0xD800 <= point < 0xE000:  # surrogates are not characters
            continue
        once = unicodedata.normalize("NFKD", letter)
        twice = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", letter).casefold())
        form = unicodedata.normalize("NFKC", twice)
        first[point], last[point] = unicodedata.combining(once[0]), unicodedata.combining(once[-1])
        steady = once == letter == form if first[point] else unicodedata.combining(twice[0]) == 0
        easy[point] = len(form) == 1 and steady and once[0] not in joining and twice[0] not in joining
        code[point] = ord(form[0])
        last[point] = max(last[point], unicodedata.combining(twice[-1]))
    return _Spellings(code, easy, first, last)


def _joining() -> set[str]:
    """Return the characters that may join with the character before them."""
    hangul = {chr(point) for point in [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]}
    parts = (unicodedata.decomposition(chr(point)).split() for point in range(sys.maxunicode + 1))
    return hangul | {chr(int(pair[1], 16)) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
