"""Each query's own list of candidates: the rows that a fold shows to it, liked or not."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.interactions import FOLDS, group
from dssm_lightning.data.setting_checks import check_labels
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged, take


class CandidateLists(NamedTuple):
    """G lists, by query. A list has at least one candidate, and each candidate once.

    Example:
        >>> row = Ragged.from_lengths(torch.tensor([2, 7]), torch.tensor([2]))
        >>> liked, other = (Ragged.from_lengths(torch.tensor([each]), torch.tensor([1])) for each in (7, 2))
        >>> CandidateLists(torch.tensor([0]), torch.tensor([5]), row, liked, other, None, by_event=False).longest
        2
    """

    query: Tensor  # (G,) int64 rows of the query table
    first: Tensor  # (G,) int64 the first row of each list in the interaction table
    listed: Ragged  # G rows of corpus rows, ascending
    relevant: Ragged  # G rows of corpus rows: label 1
    shown: Ragged  # G rows of corpus rows: label 0
    grade: Ragged | None  # G rows: the grade of each relevant candidate; None = all have the same grade
    by_event: bool  # whether a query may have several lists, one for each context
    objectives: Ragged | None = None  # G rows: (O,) the objectives of each relevant candidate; None = there are none

    @property
    def longest(self) -> int:
        """Number of candidates of the longest list."""
        return self.listed.longest


def candidate_lists(assembler: Assembler, fold: int) -> CandidateLists:
    """Return the lists of a fold.

    The rows of a query are one list. Where query features are columns of the interactions, the rows of a query with
    equal values of all of them are one list; with a history, their times are equal as well.

    Args:
        assembler: the prepared data.
        fold: VALIDATION or TEST.

    Raises:
        UserError: interactions without labels; a fold of which no list has both labels.
    """
    interactions = assembler.data.interactions
    check_labels(None if interactions.label is None else "label")
    assert interactions.label is not None
    rows = interactions.rows(fold)
    number, by_event = _number_lists(assembler, rows)
    G = int(number.max()) + 1 if len(rows) else 0
    candidate, liked = interactions.candidate[rows].long(), interactions.label[rows] > 0
    first = torch.full((G,), len(interactions.query)).scatter_reduce(0, number, rows, "amin")
    grade, several = interactions.grade, interactions.objectives
    lists = CandidateLists(
        query=interactions.query[first],
        first=first,
        listed=group(number, candidate, G, order=candidate),
        relevant=group(number[liked], candidate[liked], G),
        shown=group(number[~liked], candidate[~liked], G),
        grade=None if grade is None else group(number[liked], grade[rows[liked]], G),
        by_event=by_event,
        objectives=None if several is None else group(number[liked], several[rows[liked]], G),
    )
    if G and not bool(((lists.relevant.lengths > 0) & (lists.shown.lengths > 0)).any()):
        raise UserError(
            f"evaluate: listed, but none of the {G:,} {FOLDS[fold]} lists has both a candidate with label 1 and one "
            "with label 0, so that any order is equally good: hold out whole queries with `split: RandomQueries`, or "
            "set evaluate: query"
        )
    return lists


def ranked_rows(assembler: Assembler, fold: int, evaluate: str, rank: str) -> tuple[Tensor | None, int | None]:
    """Return the corpus rows (M,) that a fold ranks, ascending, and the length of its longest list.

    Args:
        assembler: the prepared data.
        fold: VALIDATION or TEST.
        evaluate: "query", "event" or "listed".
        rank: "corpus" or "held_out"; lists hold only candidates of the fold, whatever it is.

    Returns:
        None in place of the rows = the whole corpus; None in place of the length = there are no lists.
    """
    interactions = assembler.data.interactions
    if evaluate != "listed" and rank != "held_out":
        return None, None
    rows = torch.unique(interactions.candidate[interactions.rows(fold)])
    return rows, candidate_lists(assembler, fold).longest if evaluate == "listed" else None


def _number_lists(assembler: Assembler, rows: Tensor) -> tuple[Tensor, bool]:
    """Return the list (n,) of each row, numbered by query, and whether a query may have several."""
    interactions, event = assembler.data.interactions, assembler.data.event
    number = _dense(interactions.query[rows].long())
    contexts = [_codes(column, rows) for column in event.values()]
    if event and assembler.histories and interactions.time is not None:
        contexts.append(_codes(interactions.time, rows))
    for codes in contexts:
        number = _dense(number * (len(rows) + 1) + codes)
    return number, bool(event)


def _dense(keys: Tensor) -> Tensor:
    """Number keys (n,) from 0 in their order."""
    number: Tensor = torch.unique(keys, return_inverse=True)[1]
    return number


def _codes(column: Column, rows: Tensor) -> Tensor:
    """Return a number (n,) for each row of a column, the same for equal values."""
    part = take(column, rows)
    if isinstance(part, Ragged):
        values = part.values.cpu().numpy()
        texts = [values[start:stop].tobytes() for start, stop in pairwise(part.offsets.tolist())]
    else:
        assert isinstance(part, Tensor), "prefixes are assembled, not encoded"
        texts = [value.tobytes() for value in part.cpu().numpy().reshape(len(rows), -1)]
    known: dict[bytes, int] = {}
    return torch.tensor([known.setdefault(text, len(known)) for text in texts], dtype=torch.int64)
