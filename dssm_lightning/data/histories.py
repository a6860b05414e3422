"""What a query liked before: assembled for each batch, so that the target never stands in its own history."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.batch import Ragged, take
from dssm_lightning.counter import Counter
from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.features import History


class Likes:
    """Each query's training positives, oldest first."""

    def __init__(self, interactions: Interactions, num_queries: int) -> None:
        rows = interactions.rows(TRAIN, label=1)
        time = None if interactions.time is None else interactions.time[rows]
        self.candidates = group(interactions.query[rows], interactions.candidate[rows], num_queries, time)
        self.times = None if time is None else group(interactions.query[rows], time, num_queries, time)


class HistoryAssembler:
    """Turns queries and targets into the column of one :class:`~dssm_lightning.features.History` feature.

    Args:
        feature: the fitted feature.
        item_ids: (N,) the encoding of every corpus row by the candidate feature that the history is made of.
        likes: each query's training positives.

    Raises:
        ValueError: the feature orders by time and the interactions have none.
    """

    def __init__(self, feature: History, item_ids: Tensor, likes: Likes) -> None:
        if feature.order == "time" and likes.times is None:
            raise ValueError(
                f"query feature {feature.name!r}: order 'time' needs a time column, and the source names none; "
                "name one, or use order 'leave_one_out'"
            )
        self.feature, self.item_ids, self.likes = feature, item_ids, likes

    def __call__(
        self, query: Tensor, target: Tensor | None = None, time: Tensor | None = None, drop: Counter | None = None
    ) -> Ragged:
        """The histories of B queries.

        Args:
            query: (B,) rows of the query table.
            target: (B,) corpus rows that are to be predicted; None = all that is known (evaluation by query).
            time: (B,) when the event happened, for order "time".
            drop: where in the run we are, in training: the feature's dropout draws from it.

        Returns:
            item ids, oldest first, with ``age`` in events: 1 for the newest.
        """
        liked = take(self.likes.candidates, query)
        rows = liked.rows
        keep = torch.ones(len(liked.values), dtype=torch.bool)
        if target is not None:
            keep &= liked.values != target[rows]
            if self.feature.order == "time":
                assert time is not None
                assert self.likes.times is not None
                keep &= take(self.likes.times, query).values < time[rows]
        age = _age(keep, rows, len(query))
        if self.feature.max_length is not None:
            keep &= age <= self.feature.max_length
        if drop is not None and self.feature.dropout > 0:
            generator = drop.generator(f"history {self.feature.name}")
            keep &= torch.rand(len(keep), generator=generator) >= self.feature.dropout
        offsets = torch.zeros(len(query) + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(rows[keep], minlength=len(query)), 0, out=offsets[1:])
        return Ragged(self.item_ids[liked.values[keep]], offsets, age[keep].float())


def _age(keep: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """(T,) how many kept entries of the same row stand at or after each entry."""
    before = keep.cumsum(0)  # (T,) kept entries up to here, all rows
    ends = torch.bincount(rows[keep], minlength=num_rows).cumsum(0)  # (B,)
    return ends[rows] - before + 1
