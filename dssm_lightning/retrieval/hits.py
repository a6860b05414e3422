"""One answer of a search."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

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


def hits_of(
    rows: CandidateRows, display: Sequence[str], found: Sequence[tuple[NDArray[Any], NDArray[Any]]]
) -> list[list[Hit]]:
    """Return the hits of each query, in their order.

    Args:
        rows: the candidates.
        display: the columns that are shown.
        found: for each query the scores and the rows of its answers.
    """
    columns = [rows.columns.index(name) for name in display]
    shown: dict[int, tuple[Any, dict[str, Any], bool]] = {}  # many queries find the same candidates
    answers = []
    for scores, numbers in found:
        hits = []
        for score, row in zip(scores.tolist(), numbers.tolist(), strict=True):
            if row not in shown:
                values = rows.values(row)
                own = dict(zip(display, [values[place] for place in columns], strict=True))
                shown[row] = values[0], own, any(isinstance(value, list | dict) for value in own.values())
            candidate_id, own, is_nested = shown[row]
            hits.append(Hit(candidate_id, score, copy.deepcopy(own) if is_nested else own.copy()))  # the caller's own
        answers.append(hits)
    return answers
