"""The history of a query, assembled for each batch, so that it never contains the row's own candidate."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.grouped_events import Timeline
from dssm_lightning.features import History
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features, Prefixes, Ragged, spans, take, take_features
from dssm_lightning.utils.seeding import Counter

LATEST_SECOND = 1e11  # in the year 5138; such numbers of milliseconds began in 1973


class HistoryAssembler:
    """Assemble the column of one :class:`~dssm_lightning.features.History` feature for events or queries.

    Args:
        feature: the fitted feature.
        candidates: the encoded corpus, N rows.
        timeline: the training events of which histories consist.

    Raises:
        UserError: the feature needs a time or labels, and the interactions have none; times that are no seconds.

    Example:
        >>> from dssm_lightning.data.interactions import TRAIN, Interactions
        >>> events = Interactions(torch.tensor([0, 0]), torch.tensor([2, 1]), torch.tensor([TRAIN] * 2))
        >>> timeline, corpus = Timeline(events, num_queries=1), {"film": torch.tensor([10, 11, 12])}
        >>> histories = HistoryAssembler(History(name="seen", of="film"), corpus, timeline)
        >>> histories.of_queries(torch.tensor([0])).values.tolist()
        [12, 11]
        >>> histories.of_events(torch.tensor([0])).values.tolist()  # without the event's own candidate
        [11]
    """

    def __init__(self, feature: History, candidates: Features, timeline: Timeline) -> None:
        label = f"query feature {feature.name!r}"
        if feature.needs_time and timeline.interactions.time is None:
            setting = "order 'time'" if feature.order == "time" else "age 'seconds'"
            raise UserError(
                f"{label}: {setting} needs a time column, but the source names no time column; name it, or use order "
                "'leave_one_out' and age 'events'"
            )
        if feature.events == "shown" and timeline.interactions.label is None:
            raise UserError(
                f"{label}: events 'shown' needs labels, but the source names no label column; name it, or use events "
                "'liked'"
            )
        if feature.age == "seconds" and timeline.times is not None and len(timeline.times):
            latest = float(timeline.times.max())
            if latest > LATEST_SECOND:
                raise UserError(
                    f"{label}: age 'seconds' needs times in seconds, but the latest time is {latest:.0f}, which seems "
                    "to be milliseconds or smaller units: divide the column, or store datetimes"
                )
        self.feature, self.candidates, self.timeline = feature, candidates, timeline

    def of_queries(self, query: Tensor) -> Ragged:
        """Return the histories of queries (Q,): all training events of each query."""
        start, stop = self.timeline.candidates.offsets[query], self.timeline.candidates.offsets[query + 1]
        index, offsets = self._newest(start, stop)
        now = None
        if self.feature.age == "seconds" and len(index):
            assert self.timeline.times is not None
            now = self.timeline.times[(stop - 1).clamp(min=0)]
        return self._column(index, offsets, self._age(index, offsets, now))

    def of_events(self, rows: Tensor, dropout: Counter | None = None) -> Ragged:
        """Return the histories of interaction rows (B,), with dropout in training, at the given place in the run."""
        interactions, known = self.timeline.interactions, self.timeline.candidates
        query = interactions.query[rows]
        start, stop = known.offsets[query], known.offsets[query + 1]
        if self.feature.order == "time":
            index, offsets = self._newest(start, start + self.timeline.before[rows])
        else:
            index, offsets = self._newest_without(interactions.candidate[rows], start, stop)
        now = None if interactions.time is None else interactions.time[rows]
        age = self._age(index, offsets, now)
        keep = self._kept(len(index), dropout)
        if keep is not None:
            index, age, offsets = index[keep], age[keep], _count(keep)[offsets]
        return self._column(index, offsets, age)

    def of_sequences(self, rows: Tensor, dropout: Counter | None = None) -> Prefixes:
        """Return the histories of rows (B,) as prefixes of one sequence for each query.

        The rows of a query must follow one another, oldest first. The sequence of a query is the history that
        :meth:`of_events` returns for its last row. The history of an earlier row is the part of the sequence that is
        older than this row; events before the start of the sequence are missing in it.
        """
        interactions, known = self.timeline.interactions, self.timeline.candidates
        queries, sequence, events = torch.unique_consecutive(
            interactions.query[rows], return_inverse=True, return_counts=True
        )
        last = events.cumsum(0) - 1  # (S,) the last row of each query
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
        keep = self._kept(len(index), dropout)
        if keep is not None:
            count = _count(keep)
            first = offsets[sequence]
            index, age, length, offsets = index[keep], age[keep], count[first + length] - count[first], count[offsets]
        return Prefixes(self._column(index, offsets, age), sequence, length, now)

    def _newest(self, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Return the newest places of each row from start to stop, and the row offsets."""
        if self.feature.max_length is not None:
            start = torch.maximum(start, stop - self.feature.max_length)
        return spans(start, stop - start)

    def _newest_without(self, target: Tensor, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Return the newest places of each row without its target (B,), and the row offsets."""
        limit = self.feature.max_length
        if limit is not None:
            start = torch.maximum(start, stop - limit - 1)  # one more, in place of the target
        index, offsets = spans(start, stop - start)
        keep = self.timeline.candidates.values[index] != torch.repeat_interleave(target, stop - start)
        if limit is not None:
            count = _count(keep)
            newer = torch.repeat_interleave(count[offsets[1:]], stop - start) - count[:-1]  # kept from this place on
            keep &= newer <= limit
        return index[keep], _count(keep)[offsets]

    def _age(self, index: Tensor, offsets: Tensor, now: Tensor | None) -> Tensor:
        """Return the ages of entries (T,) float32, in the feature's unit."""
        lengths = offsets[1:] - offsets[:-1]
        if self.feature.age == "events" or now is None:
            return (torch.repeat_interleave(offsets[1:], lengths) - torch.arange(len(index))).float()
        assert self.timeline.times is not None
        return (torch.repeat_interleave(now, lengths) - self.timeline.times[index]).abs().float()

    def _kept(self, total: int, dropout: Counter | None) -> Tensor | None:
        """Return which of ``total`` entries dropout keeps, (T,) bool; None = all."""
        if dropout is None or self.feature.dropout == 0:
            return None
        return torch.rand(total, generator=dropout.generator(f"history {self.feature.name}")) >= self.feature.dropout

    def _column(self, index: Tensor, offsets: Tensor, age: Tensor) -> Ragged:
        rows = self.timeline.candidates.values[index]  # (T,) corpus rows
        if self.feature.of_candidates:
            distinct, values = torch.unique(rows, return_inverse=True)  # each candidate is encoded once
            return Ragged(values, offsets, age, take_features(self.candidates, distinct))
        ids = take(self.candidates[self.feature.of], rows)
        if isinstance(ids, Ragged):  # an entry has any number of ids
            return Ragged(ids.values, ids.offsets[offsets], torch.repeat_interleave(age, ids.lengths))
        assert isinstance(ids, Tensor)
        return Ragged(ids, offsets, age)


def _count(keep: Tensor) -> Tensor:
    """Return the number of kept entries before each place, (T + 1,), from (T,) bool."""
    return torch.nn.functional.pad(keep.cumsum(0), (1, 0))
