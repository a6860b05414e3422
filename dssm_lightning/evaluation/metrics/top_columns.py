"""The columns of the highest scores, the same on every machine where scores are equal."""

from __future__ import annotations

import torch
from torch import Tensor

FIRST_WIDTH = 2
"""Columns for each place of a list that are searched first for equal scores."""


def top_k_stable(scores: Tensor, k: int) -> Tensor:
    """Return the columns of the k highest scores, best first: (Q, N) -> (Q, k). Equal scores: the lower column first.

    ``torch.topk`` takes any of the equal scores at place k, and different ones on different machines: where these are
    more than there is room for, the lowest columns are found by a comparison.

    Example:
        >>> top_k_stable(torch.tensor([[1.0, 2.0, 1.0, 1.0]]), k=3).tolist()
        [[1, 0, 2]]
    """
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    limit, beyond = values[:, k - 1], values[:, k:]
    divided = (beyond == limit[:, None]).any(1).nonzero().squeeze(1)  # place k divides equal scores
    values, columns = values[:, :k], columns[:, :k].contiguous()
    if len(divided):
        columns[divided] = _with_lowest_ties(scores, divided, columns[divided], values[divided] == limit[divided, None])
    columns = columns.sort(dim=1).values
    order = scores.gather(1, columns).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)


def _with_lowest_ties(scores: Tensor, rows: Tensor, columns: Tensor, tied: Tensor) -> Tensor:
    """Put the lowest columns of the score at place k in the places that ``topk`` gave to any of them.

    The first columns are searched alone: if most scores are equal, they hold enough of them.

    Args:
        scores: (Q, N).
        rows: (R,) of them.
        columns: (R, k) their best columns.
        tied: (R, k) bool: which of these have the score at place k.
    """
    room, limit = tied.sum(1), scores[rows, columns[:, -1]][:, None]
    found, waiting = columns.clone(), torch.arange(len(rows), device=rows.device)
    for width in (FIRST_WIDTH * tied.shape[1], scores.shape[1]):
        row, column = (scores[rows[waiting], :width] == limit[waiting]).nonzero().T
        lengths = torch.bincount(row, minlength=len(waiting))
        done = lengths >= room[waiting]
        place = torch.arange(len(row), device=rows.device) - (lengths.cumsum(0) - lengths)[row]
        chosen = done[row] & (place < room[waiting][row])
        part = found[waiting[done]]
        part[tied[waiting[done]]] = column[chosen]
        found[waiting[done]] = part
        waiting = waiting[~done]
    return found
