"""Candidates by their words, for a person who picks some of them: of a history, or of answers to leave out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from dssm_lightning.features.readings import value_text
from dssm_lightning.retrieval.candidate_rows import CandidateRows

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
"""Letters whose stroke Unicode does not take for an accent."""


def folded(text: str) -> str:
    """Return a text without the differences of case, accents and compatible forms, in one line.

    Example:
        >>> folded("  Ｃafé STRAẞE \\n Ångström ")
        'cafe strasse angstrom'
    """
    if text.isascii():
        return " ".join(text.lower().split())
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(c for c in parts if not unicodedata.combining(c) and not "\ufe00" <= c <= "\ufe0f")
    return " ".join(kept.translate(_LETTERS).split())


class CandidateLookup:
    """The shown values of N candidates as folded texts, in which words are found; an object never changes.

    Args:
        rows: the candidates.
        display: the columns that are shown; the first one has the candidate's name.

    Example:
        >>> rows = CandidateRows.of(["film", "title"], [[7, "The Heat"], [8, "Heat"], [9, "Café Heaven"]])
        >>> lookup = CandidateLookup(rows, ["title"])
        >>> lookup.find("heat", 10), lookup.find("CAFE he", 10), lookup.find("9", 10)
        ([1, 0], [2], [2])
    """

    def __init__(self, rows: CandidateRows, display: Sequence[str]) -> None:
        self.rows = rows
        shown = [name for name in display if name != rows.columns[0]]
        columns = [[folded(_text(value)) for value in rows.column(name)] for name in [*shown, rows.columns[0]]]
        names = columns[0]
        self._order = sorted(range(len(names)), key=lambda row: len(names[row]))  # stable: then by row
        self._names = [names[row] for row in self._order]
        self._ids = [columns[-1][row] for row in self._order]
        self._texts = [" " + " ".join([column[row] for column in columns]) for row in self._order]

    def find(self, text: str, k: int) -> list[int]:
        """Return the rows of at most k candidates whose shown values or id contain every word of a text, best first.

        First comes the candidate whose id or name is the text, then those whose name begins with it, then those in
        which each word begins a word; of equally good ones, those with shorter names, and lower rows.
        """
        wanted = folded(text)
        words = sorted(set(wanted.split()), key=len, reverse=True)
        if not words:
            return list(range(min(k, len(self.rows))))
        texts = self._texts
        found = [place for place, each in enumerate(texts) if words[0] in each]
        for word in words[1:]:
            found = [place for place in found if word in texts[place]]
        return [self._order[place] for place in self._best(found, wanted, words, k)]

    def _best(self, found: list[int], wanted: str, words: list[str], k: int) -> list[int]:
        """Return the k best of places, which are in the order of the lengths of their names."""
        names, ids, texts = self._names, self._ids, self._texts
        best = [place for place in found if names[place] == wanted or ids[place] == wanted][:k]
        tests: list[Any] = [
            lambda place: names[place].startswith(wanted),
            lambda place: all(f" {word}" in texts[place] for word in words),
            lambda place: True,
        ]
        for test in tests:
            taken = set(best)
            for place in found if len(best) < k else ():
                if place not in taken and test(place):
                    best.append(place)
                    if len(best) == k:
                        break
        return best


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(each) for each in value)
    return "" if value is None else value_text(value)
