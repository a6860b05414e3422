"""Normalise the spelling of whole columns by look-ups (:mod:`~dssm_lightning.features.text.spelling_table`)."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.spelling_table import (
    CODE,
    CODE_AND_KIND,
    ENDS_FIRST,
    ENDS_MARK,
    HARD,
    JOINS,
    MARK,
    SEVERAL,
    Spelled,
    SpellingTable,
    spelled_codes,
    spelling_table,
)
from dssm_lightning.features.text.unicode_folding import MAX_MARKS, divided, folded_together

Counts = NDArray[np.int64]

_UTF32 = f"utf-32-{sys.byteorder[0]}e"


def spell(text: str, starts: Counts) -> tuple[Spelled, Counts]:
    """Normalise texts (B,), which stand between U+0000, and return the places where they begin (B + 1,) then.

    Args:
        text: begins and ends with U+0000.
        starts: (B + 1,) the place of the U+0000 before each text, and of the one after the last text.

    Example:
        >>> spelled, starts = spell("\\0Straße\\0É\\0", np.array([0, 7, 9]))
        >>> "".join(map(chr, (spelled & CODE).tolist())).replace("\\0", "|"), starts.tolist()
        ('|strasse|é|', [0, 8, 10])
    """
    table, codes = spelling_table(), np.frombuffer(text.encode(_UTF32), np.uint32)
    spelled = table.form.take(codes, mode="clip")
    place = np.flatnonzero(spelled >= SEVERAL)  # the lowest bit of what must be looked at
    if not len(place):
        return spelled, starts
    look, here = spelled[place], codes[place]
    long = _long_runs(place[table.first.take(here, mode="clip") > 0])
    hard = np.concatenate([place[_depends(look, here, codes[place - 1], table)], long])
    rows, long_rows = (np.unique(np.searchsorted(starts, each, side="right")) - 1 for each in (hard, long))
    texts = [text[i + 1 : j] for i, j in zip(starts[rows].tolist(), starts[rows + 1].tolist(), strict=True)]
    for n in np.searchsorted(rows, long_rows).tolist():
        texts[n] = divided(texts[n])
    several = (look & SEVERAL) != 0
    if several.any():
        spelled, starts = _widened(spelled, starts, place[several], table.length[here[several]], table)
    if len(rows):
        spelled, starts = _replaced(spelled, starts, rows, folded_together(texts))
    spelled &= CODE_AND_KIND
    return spelled, starts


def _depends(
    look: Spelled, here: NDArray[np.uint32], before: NDArray[np.uint32], table: SpellingTable
) -> NDArray[np.bool_]:
    """Return which characters (P,) have another form after the given ones (P,); a text begins with U+0000."""
    is_mark, ends = (look & MARK) != 0, table.ends.take(before, mode="clip")
    joins = ((look & JOINS) != 0) & ((ends & np.where(is_mark, ENDS_FIRST | ENDS_MARK, ENDS_FIRST)) != 0)
    moves = is_mark & (table.last.take(before, mode="clip") > table.first.take(here, mode="clip"))
    depends: NDArray[np.bool_] = joins | moves | ((look & HARD) != 0)
    return depends


def _long_runs(marks: Counts) -> Counts:
    """Return the places of marks that are preceded by 30 others, of the places of all marks."""
    long: Counts = marks[MAX_MARKS:][marks[MAX_MARKS:] - marks[:-MAX_MARKS] == MAX_MARKS]
    return long


def _widened(
    spelled: Spelled, starts: Counts, several: Counts, length: NDArray[np.uint8], table: SpellingTable
) -> tuple[Spelled, Counts]:
    """Put forms of several characters, of the given lengths (S,), in their places (S,)."""
    repeats = np.ones(len(spelled), np.int64)
    repeats[several] = length
    wide = np.repeat(spelled, repeats)  # the place of a form's first character in the table, as often as it is long
    begins = np.cumsum(length, dtype=np.int64) - length  # of each form, among the characters of all forms
    nth = np.arange(begins[-1] + length[-1]) - np.repeat(begins, length)
    shift = np.append(begins, begins[-1] + length[-1]) - np.arange(len(several) + 1)  # characters added before each
    places = np.repeat(several + shift[:-1], length) + nth
    wide[places] = table.several[(wide[places] & CODE) + nth]
    return wide, starts + shift[np.searchsorted(several, starts)]


def _replaced(spelled: Spelled, starts: Counts, rows: Counts, texts: list[str]) -> tuple[Spelled, Counts]:
    """Put normalised texts (H,) in the place of some rows (H,)."""
    codes = np.frombuffer("".join(f"\0{text}" for text in texts).encode(_UTF32), np.uint32)
    lengths, is_easy = np.diff(starts), np.ones(len(starts) - 1, np.bool_)
    is_easy[rows] = False
    kept = spelled[np.append(np.repeat(is_easy, lengths), True)]
    lengths[rows] = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    from_kept = np.append(np.repeat(is_easy, lengths), True)
    merged = np.empty(len(from_kept), np.uint32)
    merged[from_kept], merged[~from_kept] = kept, spelled_codes(codes)
    return merged, np.concatenate([[0], np.cumsum(lengths)])
