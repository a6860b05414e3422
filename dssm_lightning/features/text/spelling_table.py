"""A table of what Unicode and the rules of words make of each character, for whole columns at once.

The form of a text, ``NFKC(casefold(NFKC(text)))``, mostly is the sequence of the forms of its characters, each on its
own. A row of the table has the form of a character and its kind, so that one look-up of four bytes spells a character
and prepares it for cutting. Only texts in which a character could join with, or change places with, the one before it
are left to ``unicodedata``.

A character has its own form whatever is before it, if neither its decomposition nor that of its case-folded form begins
with a combining mark, or with a character that can be the second of a composition (Unicode, D117). Any other character
must be its own form and decomposition; then

- a mark must not be of a lower combining class than the last character before it, which would change their order;
- the second character of a composition must not follow a form that ends in the first character of one. If it is a mark,
  that form must not end in a mark either, because it could join with a character before that;
- more than 30 marks in a row are divided, as :mod:`~dssm_lightning.features.text.unicode_folding` describes.

The table is made from Python's ``unicodedata``, so that it knows the characters that this Python knows.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.character_kinds import SPACE, STOP, kinds

Spelled = NDArray[np.uint32]
"""Characters with their kinds: the code point in the low 24 bits, or 0 for a blank; the kind in the next two bits; what
must be looked at above them."""

CODE, CODE_AND_KIND, KIND = np.uint32((1 << 24) - 1), np.uint32((1 << 26) - 1), np.uint32(24)
SEVERAL, JOINS, MARK, HARD = (np.uint32(1 << bit) for bit in (26, 27, 28, 29))
"""The form has several characters · is the second of a composition · is a combining mark · needs ``unicodedata``."""
ENDS_FIRST, ENDS_MARK = np.uint8(1), np.uint8(2)
"""Ends in what can be the first character of a composition · in a combining mark."""

ScalarT = TypeVar("ScalarT", bound=np.generic)

_UTF32 = f"utf-32-{sys.byteorder[0]}e"


class SpellingTable(NamedTuple):
    """A table of the code points below ``STOP``; the last row represents all higher code points, and is hard.

    Example:
        >>> table = spelling_table()
        >>> chr(table.form[ord("Ж")] & CODE), int(table.length[ord("ß")])
        ('ж', 2)
    """

    form: Spelled  # of several characters: the place of the first one in ``several``, in the bits of a code point
    several: Spelled  # the forms of several characters, one after another
    length: NDArray[np.uint8]  # number of characters of the form
    first: NDArray[
        np.uint8
    ]  # canonical combining class of the first character of the decomposition; 1 for all higher code points
    last: NDArray[np.uint8]  # the highest class of the last character, before case folding or after it
    ends: NDArray[np.uint8]  # in what the form ends, before case folding or after it


class _Forms(NamedTuple):
    """A form (≥ 1 characters) of each of P characters."""

    codes: NDArray[np.uint32]  # of all forms, one after another
    length: NDArray[np.int64]  # (P,)

    @classmethod
    def of(cls, text: str) -> _Forms:
        """Read forms that stand between U+0000, which composes with nothing."""
        codes = np.frombuffer(text.encode(_UTF32), np.uint32)
        ends = np.append(np.flatnonzero(codes == 0), len(codes))
        length = np.diff(ends, prepend=-1) - 1
        assert (length > 0).all(), "no character disappears"
        return cls(codes[codes > 0], length)

    @property
    def first(self) -> NDArray[np.uint32]:
        codes: NDArray[np.uint32] = self.codes[np.cumsum(self.length) - self.length]
        return codes

    @property
    def last(self) -> NDArray[np.uint32]:
        codes: NDArray[np.uint32] = self.codes[np.cumsum(self.length) - 1]
        return codes

    def equal(self, points: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return which forms are a single given character (P,)."""
        same: NDArray[np.bool_] = (self.length == 1) & (self.first == points)
        return same


@lru_cache(maxsize=1)
def spelling_table() -> SpellingTable:
    """Return the table, which is made once in a process."""
    points = np.delete(np.arange(1, STOP - 1, dtype=np.uint32), np.s_[0xD7FF:0xDFFF])  # without U+D800 … U+DFFF
    text = "\0".join(points.tobytes().decode(_UTF32))
    once = unicodedata.normalize("NFKC", text)
    folded = once.casefold()
    before, after = (_Forms.of(unicodedata.normalize("NFKD", each)) for each in (text, folded))
    middle, end = _Forms.of(once), _Forms.of(unicodedata.normalize("NFKC", folded))
    firsts, seconds = (_table(letters) for letters in _compositions())
    classes = np.fromiter(map(unicodedata.combining, map(chr, range(STOP))), np.uint8, STOP)

    def either(table: NDArray[np.uint8], *codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
        return np.maximum(*(table.take(each, mode="clip") for each in codes))

    joins, mark = either(seconds, before.first, after.first) > 0, either(classes, before.first, after.first) > 0
    itself = before.equal(points) & after.equal(points) & end.equal(points)
    flags = np.where(itself, mark * MARK | joins * JOINS, np.where(mark | joins, HARD, 0)).astype(np.uint32)
    flags[(end.length > 1) & (flags == 0)] = SEVERAL
    place = np.cumsum(end.length) - end.length
    form = np.where(flags == SEVERAL, place, spelled_codes(end.codes)[place]).astype(np.uint32) | flags
    marks = np.minimum(either(classes, middle.last, end.last), 1)
    table = SpellingTable(
        form=_rows(points, form, int(HARD)),
        several=spelled_codes(end.codes),
        length=_rows(points, end.length.astype(np.uint8)),
        first=_rows(points, classes.take(before.first, mode="clip"), 1),
        last=_rows(points, either(classes, before.last, after.last)),
        ends=_rows(points, either(firsts, middle.last, end.last) * ENDS_FIRST | marks * ENDS_MARK),
    )
    table.form[0] = table.first[0] = 0
    return table


def spelled_codes(codes: NDArray[np.uint32]) -> Spelled:
    """Return the characters of texts that are in their form already, given as code points (P,)."""
    kind = kinds().take(codes, mode="clip")
    spelled: Spelled = np.where(kind == SPACE, np.uint32(0), codes) | kind.astype(np.uint32) << KIND
    return spelled


def _compositions() -> tuple[set[str], set[str]]:
    """Return the characters that can be the first and the second of a composition."""
    firsts = {chr(point) for point in [*range(0x1100, 0x1113), *range(0xAC00, 0xD7A4, 28)]}  # Hangul, by rule
    seconds = {chr(point) for point in [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]}
    for parts in filter(None, map(unicodedata.decomposition, map(chr, range(sys.maxunicode + 1)))):
        codes = parts.split()
        if len(codes) == 2 and not codes[0].startswith("<"):
            first, second = (chr(int(code, 16)) for code in codes)
            if len(unicodedata.normalize("NFC", first + second)) == 1:  # others are excluded from composition
                firsts.add(first)
                seconds.add(second)
    return firsts, seconds


def _table(letters: set[str]) -> NDArray[np.uint8]:
    """Return whether each code point is one of the letters; the last row, for all higher ones, is."""
    rows = np.zeros(STOP, np.uint8)
    rows[[min(ord(letter), STOP - 1) for letter in letters] + [STOP - 1]] = 1
    return rows


def _rows(points: NDArray[np.uint32], values: NDArray[ScalarT], other: int = 0) -> NDArray[ScalarT]:
    """Return a table of values of some points; the other rows have ``other``."""
    rows = np.full(STOP, other, values.dtype)
    rows[points] = values
    return rows
