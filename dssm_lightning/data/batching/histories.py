"""What a query liked before: assembled for each batch, so that the target never stands in its own history."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.features import History
from dssm_lightning.features.history import entries
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import Features, Prefixes, Ragged, spans, take, take_features
from dssm_lightning.utils.seeding import Counter

LABELS = {"liked": 1, "shown": 0, "all": None}


class Timeline:
    """Each query's training events of one kind, oldest first where there is a time.

    Args:
        interactions: the whole table.
        num_queries: rows of the query table.
        events: those of label 1, of label 0, or all.
    """

    def __init__(
        self, interactions: Interactions, num_queries: int, events: Literal["liked", "shown", "all"] = "liked"
    ) -> None:
        rows = interactions.rows(TRAIN, label=LABELS[events])
        query = gathered(interactions.query, rows)
        time = None if interactions.time is None else gathered(interactions.time, rows)
        self.interactions = interactions
        by_query = group(query, rows, num_queries, time)
        self.candidates = by_query._replace(values=gathered(interactions.candidate, by_query.values))
        self.times = None if interactions.time is None else gathered(interactions.time, by_query.values)  # (T,)

    @cached_property
    def before(self) -> Tensor:
        """(R,) int64: how many of its query's events here happened strictly before each interaction, of any fold."""
        query, time = self.interactions.query, self.interactions.time
        assert time is not None
        assert self.times is not None
        moments, moment = torch.unique(time, return_inverse=True)
        key = self.candidates.rows * len(moments) + torch.searchsorted(moments, self.times)  # ascending
        return torch.searchsorted(key, query * len(moments) + moment) - self.candidates.offsets[query]


class HistoryAssembler:
    """Turns events and queries into the column of one :class:`~dssm_lightning.features.History` feature.

    Args:
        feature: the fitted feature.
        candidates: the encoded corpus, N rows.
        timeline: the training events that it is made of.

    Raises:
        ValueError: the feature needs a time or labels, and the interactions have none.
    """

    def __init__(self, feature: History, candidates: Features, timeline: Timeline) -> None:
        label = f"query feature {feature.name!r}"
        if feature.needs_time and timeline.times is None:
            asked = "order 'time'" if feature.order == "time" else "age 'seconds'"
            raise UserError(
                f"{label}: {asked} needs a time column, and the source names none; name one, or use order "
                "'leave_one_out' and age 'events'"
            )
        if feature.events == "shown" and timeline.interactions.label is None:
            raise UserError(
                f"{label}: events 'shown' are those of label 0, and the source names no label column; name one, or use "
                "events 'liked'"
            )
        self.feature, self.candidates, self.timeline = feature, candidates, timeline

    def of_queries(self, query: Tensor) -> Ragged:
        """Histories of whole queries (Q,): all that training knows."""
        start, stop = self.timeline.candidates.offsets[query], self.timeline.candidates.offsets[query + 1]
        index, offsets = self._newest(start, stop)
        now = None
        if self.feature.age == "seconds" and len(index):
            assert self.timeline.times is not None
            now = self.timeline.times[(stop - 1).clamp(min=0)]
        return self._column(index, offsets, self._age(index, offsets, now))

    def of_events(self, rows: Tensor, drop: Counter | None = None) -> Ragged:
        """Histories of interactions (B,), in training with the dropout that the counter draws."""
        interactions, known = self.timeline.interactions, self.timeline.candidates
        query = interactions.query[rows]
        start, stop = known.offsets[query], known.offsets[query + 1]
        if self.feature.order == "time":
            index, offsets = self._newest(start, start + self.timeline.before[rows])
        else:
            index, offsets = self._all_but(interactions.candidate[rows], start, stop)
        now = None if interactions.time is None else interactions.time[rows]
        age = self._age(index, offsets, now)
        keep = self._kept(len(index), drop)
        if keep is not None:
            index, age, offsets = index[keep], age[keep], _count(keep)[offsets]
        return self._column(index, offsets, age)

    def of_sequences(self, rows: Tensor, drop: Counter | None = None) -> Prefixes:
        """The same by time, for rows (B,) of which those of one query stand together, oldest first.

        A query's sequence is what :meth:`of_events` finds for its last row: an earlier row has seen the part of it that
        is older, and nothing that is older than the whole.
        """
        interactions, known = self.timeline.interactions, self.timeline.candidates
        queries, sequence, events = torch.unique_consecutive(
            interactions.query[rows], return_inverse=True, return_counts=True
        )
        last = events.cumsum(0) - 1  # (S,) each query's last row
        before = self.timeline.before[rows]  # (B,)
        start = known.offsets[queries]
        index, offsets = self._newest(start, start + before[last])
        total = offsets[1:] - offsets[:-1]  # (S,)
        length = (total[sequence] - before[last][sequence] + before).clamp(min=0)
        if self.feature.age == "seconds":
            assert interactions.time is not None
            end = interactions.time[rows[last]]
            age, now = self._age(index, offsets, end), (end[sequence] - interactions.time[rows]).float()
        else:
            age, now = self._age(index, offsets, None), (total[sequence] - length).float()
        keep = self._kept(len(index), drop)
        if keep is not None:
            count = _count(keep)
            first = offsets[sequence]
            index, age, length, offsets = index[keep], age[keep], count[first + length] - count[first], count[offsets]
        return Prefixes(self._column(index, offsets, age), sequence, length, now)

    def _newest(self, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the timeline from start to stop, as far back as the feature looks; and where each row begins."""
        if self.feature.max_length is not None:
            start = torch.maximum(start, stop - self.feature.max_length)
        return spans(start, stop - start)

    def _all_but(self, target: Tensor, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """The newest places of each row that do not hold its target (B,)."""
        limit = self.feature.max_length
        if limit is not None:
            start = torch.maximum(start, stop - limit - 1)  # one more, in place of the target
        index, offsets = spans(start, stop - start)
        keep = self.timeline.candidates.values[index] != torch.repeat_interleave(target, stop - start)
        if limit is not None:
            count = _count(keep)
            newer = torch.repeat_interleave(count[offsets[1:]], stop - start) - count[:-1]  # kept ones from here on
            keep &= newer <= limit
        return index[keep], _count(keep)[offsets]

    def _age(self, index: Tensor, offsets: Tensor, now: Tensor | None) -> Tensor:
        """(T,) float32, in the feature's unit."""
        lengths = offsets[1:] - offsets[:-1]
        if self.feature.age == "events" or now is None:
            return (torch.repeat_interleave(offsets[1:], lengths) - torch.arange(len(index))).float()
        assert self.timeline.times is not None
        return (torch.repeat_interleave(now, lengths) - self.timeline.times[index]).abs().float()

    def _kept(self, total: int, drop: Counter | None) -> Tensor | None:
        """(T,) which entries training keeps; None = all."""
        if drop is None or self.feature.dropout == 0:
            return None
        return torch.rand(total, generator=drop.generator(f"history {self.feature.name}")) >= self.feature.dropout

    def _column(self, index: Tensor, offsets: Tensor, age: Tensor) -> Ragged:
        rows = self.timeline.candidates.values[index]  # (T,) corpus rows
        if self.feature.of_candidates:
            distinct, values = torch.unique(rows, return_inverse=True)  # each is encoded once
            return Ragged(values, offsets, age, take_features(self.candidates, distinct))
        return entries(take(self.candidates[self.feature.of], rows), offsets, age)


def _count(keep: Tensor) -> Tensor:
    """(T,) bool -> (T + 1,): how many are kept before each place."""
    return torch.nn.functional.pad(keep.cumsum(0), (1, 0))
