"""Baselines that rank what many queries liked: in all of training, or in the last days before the event."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_positive

SECONDS_OF_A_DAY = 86_400.0


@dataclass(eq=False)
class PopularityBaseline(Baseline):
    """The number of queries that liked a candidate in training: the same ranking for every query.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> baseline = PopularityBaseline()
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3))
        >>> baseline.scores(EvaluationBatch({}, torch.tensor([1]), positives, positives, shown=None)).tolist()
        [[2.0, 1.0, 0.0]]
    """

    def __str__(self) -> str:
        """Return the name in tables and files."""
        return "Popularity()"

    def fit(self, data: BaselineData) -> None:
        """Count the queries that like each candidate."""
        self._counts = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): one row, expanded without a copy."""
        return self._counts.expand(len(batch.query_row), -1)


@dataclass(eq=False)
class RecentPopularity(Baseline):
    """The number of training positives of a candidate in the last days before the ranked event.

    An evaluation by event counts from ``days`` before the event's own time up to that time, exclusive. An evaluation by
    query counts the last ``days`` of training: all of its queries have the same ranking.

    Raises:
        UserError: a number of days that is not positive and finite.

    Example:
        >>> from dssm_lightning.evaluation.baselines.base import TimedPositives
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> day = 86_400.0
        >>> times = torch.tensor([0.0, 5 * day, 9 * day, 6.5 * day])  # three training events, and one to rank
        >>> timed = TimedPositives(torch.tensor([0, 1, 2]), times[:3], times)
        >>> one = Ragged.from_lengths(torch.tensor([0]), torch.tensor([1]))
        >>> baseline = RecentPopularity(days=2)
        >>> baseline.fit(BaselineData(positives=one, num_candidates=3, timed=timed))
        >>> by_event = EvaluationBatch({}, torch.tensor([0]), one, one, shown=None, row=torch.tensor([3]))
        >>> baseline.scores(by_event).tolist(), baseline.scores(by_event._replace(row=None)).tolist()
        ([[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    """

    days: float
    """Length of the window before the event."""

    def __post_init__(self) -> None:
        require_positive("RecentPopularity", "days", self.days)

    @property
    def _seconds(self) -> float:
        return self.days * SECONDS_OF_A_DAY

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that training has no times or is no longer than the window, or None."""
        if data.timed is None:
            return "interactions have no time"
        time = data.timed.time
        days = float(time[-1] - time[0]) / SECONDS_OF_A_DAY if len(time) else 0.0
        return None if days > self.days else f"the training rows are of {days:.1f} days, all of them within the window"

    def fit(self, data: BaselineData) -> None:
        """Keep the training positives with their times."""
        assert data.timed is not None, "obstacle() requires times"
        self._timed, self._num_candidates = data.timed, data.num_candidates

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): the counts within each event's window."""
        candidate, time, of_row = self._timed
        if batch.row is None:
            recent = candidate[time > time[-1] - self._seconds]
            return self._count(recent).expand(len(batch.query_row), -1)
        moment = of_row[batch.row.cpu()]
        first = torch.searchsorted(time, moment - self._seconds).tolist()
        last = torch.searchsorted(time, moment).tolist()  # the first that is not before the event
        counts, found = self._count(candidate[:0]), torch.empty(len(moment), self._num_candidates)
        begin = end = 0
        for place in moment.argsort().tolist():  # both ends of the window only move forward
            start, stop = first[place], last[place]
            if start >= end:  # nothing of the window before is in this one
                counts = self._count(candidate[start:stop])
            else:
                counts = counts + self._count(candidate[end:stop]) - self._count(candidate[begin:start])
            begin, end = start, stop
            found[place] = counts
        return found

    def _count(self, candidates: Tensor) -> Tensor:
        return torch.bincount(candidates, minlength=self._num_candidates).float()
