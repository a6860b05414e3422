"""What was liked in the last days before an event, against a loop over all events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.lists import ragged
from numpy.typing import NDArray

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines import BaselineData, RecentPopularity
from dssm_lightning.evaluation.baselines.base import TimedPositives
from dssm_lightning.utils.errors import UserError

DAY = 86_400.0
CANDIDATES = 5


@pytest.fixture
def events() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Candidate and day of 60 events, many of them at the same moment, and whether they are of training."""
    generator = np.random.default_rng(3)
    days = generator.integers(0, 40, 60).astype(float)
    days[:5] += 200  # after a gap that no window bridges
    return generator.integers(0, CANDIDATES, 60), days, generator.random(60) < 0.7


def made(events: Any) -> BaselineData:
    candidate, days, train = events
    order = np.argsort(days[train], kind="stable")
    timed = TimedPositives(
        *(torch.from_numpy(each) for each in (candidate[train][order], days[train][order] * DAY, days * DAY))
    )
    return BaselineData(positives=ragged([[0]]), num_candidates=CANDIDATES, timed=timed)


def ask(rows: list[int] | None, queries: int) -> EvaluationBatch:
    nothing = ragged([[] for _ in range(queries)])
    row = None if rows is None else torch.tensor(rows, dtype=torch.int64)
    return EvaluationBatch({}, torch.zeros(queries, dtype=torch.int64), nothing, nothing, None, row=row)


@pytest.mark.parametrize("days", [1, 6.5, 30])
def test_each_event_sees_training_rows_before_it_and_no_others(events: Any, days: float) -> None:
    candidate, when, train = events
    baseline = RecentPopularity(days)
    baseline.fit(made(events))
    rows = np.random.default_rng(0).permutation(60).tolist()
    expected = np.zeros((60, CANDIDATES))
    for place, row in enumerate(rows):
        for other in range(60):
            if train[other] and when[row] - days <= when[other] < when[row]:
                expected[place, candidate[other]] += 1
    assert np.array_equal(baseline.scores(ask(rows, 60)).numpy(), expected)
    assert np.array_equal(baseline.scores(ask(rows[:1], 1)).numpy(), expected[:1])
    assert baseline.scores(ask([], 0)).shape == (0, CANDIDATES)


def test_queries_without_an_event_see_the_end_of_training(events: Any) -> None:
    candidate, when, train = events
    baseline = RecentPopularity(3)
    baseline.fit(made(events))
    end = when[train].max()
    expected = np.bincount(candidate[train & (when > end - 3)], minlength=CANDIDATES)
    assert baseline.scores(ask(None, 2)).tolist() == [expected.tolist()] * 2


def test_its_obstacles(events: Any) -> None:
    assert "no time" in (RecentPopularity(1).obstacle(BaselineData(positives=ragged([[0]]), num_candidates=5)) or "")
    assert RecentPopularity(30).obstacle(made(events)) is None
    assert "days" in (RecentPopularity(300).obstacle(made(events)) or "")


@pytest.mark.parametrize("days", [0, -1, float("inf")])
def test_a_window_without_length_is_refused(days: float) -> None:
    with pytest.raises(UserError, match=rf"RecentPopularity: days is {days}"):
        RecentPopularity(days)
