"""Normalise the spelling of texts: ``NFKC(casefold(NFKC(text)))`` (Unicode, D146).

This is what defines the spelling. ``spelled_columns.py`` finds the same by look-ups, for most texts of a large column.

``unicodedata`` sorts a run of combining marks in quadratic time. A run of more than 30 marks, which no language has, is
divided first, as Unicode's Stream-Safe Text Format does (UAX #15, D4).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SEPARATOR = "\x01"
"""Separates texts that are normalised together; no character composes with it."""

MAX_MARKS = 30
"""Longest run of combining marks; longer runs are divided by U+034F, the combining grapheme joiner."""


def folded(text: str) -> str:
    """Normalise case, width and ligatures of one text.

    Example:
        >>> folded("ＣＡＦÉ ﬁne Straße")
        'café fine strasse'
    """
    return _folded(divided(text))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def folded_texts(texts: Sequence[str]) -> list[str]:
    """Normalise texts (B,); a separator within a text becomes a blank.

    Example:
        >>> folded_texts(["ＣＡＦÉ", "Straße"])
        ['café', 'strasse']
    """
    return folded_together([divided(text) for text in texts])


def folded_together(texts: Sequence[str]) -> list[str]:
    """Normalise texts (B,) as :func:`folded_texts` does, none of which has a run of more than 30 combining marks."""
    if not texts:
        return []
    joined = SEPARATOR.join(texts)
    if joined.count(SEPARATOR) >= len(texts):  # some text holds one
        joined = SEPARATOR.join(text.replace(SEPARATOR, " ") for text in texts)
    return _folded(joined).split(SEPARATOR)


def divided(text: str) -> str:
    """Divide runs of more than 30 combining marks by U+034F."""
    if text.isascii() or len(text) <= MAX_MARKS:
        return text
    marks = [letter for letter in set(text) if _is_mark(letter)]
    if sum(map(text.count, marks)) <= MAX_MARKS:  # spares the pattern, which takes half a second to make
        return text
    return _marks().sub("\\1\u034f", text)


@lru_cache(maxsize=1 << 12)
def _is_mark(letter: str) -> bool:
    """Return whether a character decomposes to combining marks."""
    return unicodedata.combining(unicodedata.normalize("NFKD", letter)[0]) > 0


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    """Return the pattern of 30 characters that decompose to combining marks, if another one follows."""
    points = (chr(point) for point in range(0x300, sys.maxunicode + 1) if not 0xAC00 <= point < 0xE000)  # no Hangul
    marks = "".join(filter(_is_mark.__wrapped__, points))
    return re.compile(f"([{marks}]{{{MAX_MARKS}}})(?=[{marks}])")
