"""How many rows a table of hashed words or letter trigrams needs for the texts that there are."""

from __future__ import annotations

import math
from collections.abc import Iterable

from dssm_lightning.inspection.profile import ColumnProfile

SMALLEST, LARGEST = 1 << 12, 1 << 18
"""Rows of a table, at least and at most."""
ROOM = 3
"""Rows for each distinct word: then about a sixth of the words share a row with another word."""
MOST_TRIGRAMS = 30_621
"""The letter trigrams of 500,000 English words (Huang et al., 2013, table 1)."""
WORDWISE = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Chinese", "Japanese")
"""Scripts that put no blanks between words, so that letters have to be read."""


def is_wordwise(column: ColumnProfile) -> bool:
    """Return whether blanks separate the words of a text."""
    return column.language is None or not any(name in column.language for name in WORDWISE)


def expected_words(columns: Iterable[ColumnProfile]) -> int:
    """Return about how many distinct words texts have: 25 · √T for T words in all, and at most T.

    By Heaps' law, with a constant of our corpora: film titles have 30 · √T, command pages 36, task descriptions 20,
    medical questions 14 and answers 16.

    Example:
        >>> titles = ColumnProfile(name="title", kind="text", rows=1682, distinct=1664, mean_words=4)
        >>> expected_words([titles])
        2040
    """
    total = sum(column.distinct * max(1.0, column.mean_words) for column in columns)
    return max(1, min(round(total), round(25 * math.sqrt(total))))


def expected_trigrams(words: int) -> int:
    """Return about how many distinct letter trigrams this many distinct words have: 55 · V^0.58.

    2,459 words of film titles have 4,158, 10,684 of command pages 12,960, 29,193 of medical answers 20,127.

    Example:
        >>> expected_trigrams(10_684)
        11941
    """
    return min(MOST_TRIGRAMS, round(55 * math.pow(words, 0.58)))


def rows_for(distinct: int) -> int:
    """Return the power of two that is nearest to :data:`ROOM` rows for each distinct word.

    Example:
        >>> rows_for(2_040), rows_for(100), rows_for(10**7)
        (8192, 4096, 262144)
    """
    return min(LARGEST, max(SMALLEST, 1 << round(math.log2(max(1, ROOM * distinct)))))
