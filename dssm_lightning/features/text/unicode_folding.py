"""One spelling of text, ``NFKC(casefold(NFKC(text)))`` (Unicode, D146), for whole columns at once.

Python's ``unicodedata`` brings ten million characters a second into normal form, or fewer where one is not yet.
Most characters are what they are whatever stands beside them: their spelling is looked up in a table, and only texts
with others take the long way.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEPARATOR = "\x01"
"""Between texts that are spelt together; no letter composes across it."""
MANY = 1 << 16
"""Characters from which on the table is used: it takes a third of a second to make, once."""

_STOP = 0x20000
_UTF32 = f"utf-32-{sys.byteorder[0]}e"


def folded(text: str) -> str:
    """The one spelling of a text, whatever its case, width or ligatures."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def folded_column(texts: pl.Series) -> pl.Series:
    """Texts (B,) in one spelling; what a separator in them ends, a blank ends as well."""
    if texts.is_empty():
        return texts
    joined = texts.str.join(SEPARATOR)[0]
    if joined.count(SEPARATOR) >= len(texts):  # some text holds one
        texts = texts.str.replace_all(SEPARATOR, " ", literal=True)
        joined = texts.str.join(SEPARATOR)[0]
    if len(joined) < MANY:
        return pl.Series(folded(joined).split(SEPARATOR), dtype=pl.String)
    codes = np.frombuffer(joined.encode(_UTF32), np.uint32)
    table = _spellings()
    hard = _hard(codes, table)
    spelt = table.code.take(codes, mode="clip").tobytes().decode(_UTF32).split(SEPARATOR)
    ends = np.flatnonzero(codes == ord(SEPARATOR))
    rows = np.unique(np.searchsorted(ends, hard))  # texts that must take the long way
    column = pl.Series(spelt, dtype=pl.String)
    if not len(rows):
        return column
    return column.scatter(rows, folded(texts[rows].str.join(SEPARATOR)[0]).split(SEPARATOR))


class _Spellings(NamedTuple):
    """Of the code points below ``_STOP``; the last stands for all from there on."""

    code: NDArray[np.uint32]  # how an easy one is spelt
    easy: NDArray[np.bool_]  # whether that is one character, and never joins with what stands before it
    first: NDArray[np.uint8]  # canonical combining class of the first and the last character it decomposes into:
    last: NDArray[np.uint8]  # a mark (not 0) may not stand behind one of a higher class


def _hard(codes: NDArray[np.uint32], table: _Spellings) -> NDArray[np.int64]:
    """Places of characters whose spelling depends on their neighbours, or is more than one character."""
    first = table.first.take(codes, mode="clip")
    marks = np.flatnonzero(first)
    before = table.last.take(codes[marks - 1], mode="clip")  # a text's first mark stands behind the separator, or wraps
    disordered = marks[(before > first[marks]) | (marks == 0)]
    return np.union1d(np.flatnonzero(~table.easy.take(codes, mode="clip")), disordered)


@lru_cache(maxsize=1)
def _spellings() -> _Spellings:
    joining = _joining()
    code = np.arange(_STOP, dtype=np.uint32)
    easy, first, last = np.zeros(_STOP, np.bool_), np.zeros(_STOP, np.uint8), np.zeros(_STOP, np.uint8)
    for point in range(_STOP - 1):  # the last is none, so that those beyond it are not easy
        letter = chr(point)
        if 0xD800 <= point < 0xE000:  # surrogates: no characters
            continue
        once = unicodedata.normalize("NFKD", letter)
        twice = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", letter).casefold())
        spelt = unicodedata.normalize("NFKC", twice)
        first[point], last[point] = unicodedata.combining(once[0]), unicodedata.combining(once[-1])
        steady = once == letter == spelt if first[point] else unicodedata.combining(twice[0]) == 0
        easy[point] = len(spelt) == 1 and steady and once[0] not in joining and twice[0] not in joining
        code[point] = ord(spelt[0])
        last[point] = max(last[point], unicodedata.combining(twice[-1]))
    return _Spellings(code, easy, first, last)


def _joining() -> set[str]:
    """Characters that may join with the one before them."""
    hangul = {chr(point) for point in [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]}
    parts = (unicodedata.decomposition(chr(point)).split() for point in range(sys.maxunicode + 1))
    return hangul | {chr(int(pair[1], 16)) for pair in parts if len(pair) == 2 and not pair[0].startswith("<")}
