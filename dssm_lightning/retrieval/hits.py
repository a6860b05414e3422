"""One answer of a search."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from dssm_lightning.retrieval.candidate_rows import CandidateRows


class Hit(NamedTuple):
    """One answer of a search.

    Example:
        >>> hit = Hit(id="c7", score=0.5, display={"title": "Copy a file"})
        >>> hit.display["title"]
        'Copy a file'
    """

    id: Any  # of the candidate
    score: float
    display: dict[str, Any]  # the candidate's values of the display columns; dates as ISO 8601


def hits_of(rows: CandidateRows, display: Sequence[str], scores: Sequence[float], found: Sequence[int]) -> list[Hit]:
    """Return the hits of the found rows (k,), in their order."""
    columns = [rows.columns.index(name) for name in display]
    hits = []
    for score, row in zip(scores, found, strict=True):
        values = rows.values(row)
        hits.append(Hit(values[0], score, dict(zip(display, [_own(values[place]) for place in columns], strict=True))))
    return hits


def _own(value: Any) -> Any:
    """Return a value that the caller may change: rows keep theirs."""
    return copy.deepcopy(value) if isinstance(value, list | dict) else value
