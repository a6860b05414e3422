"""What a window of a rolling evaluation knows: nothing that happened after it."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import ByTime, LeaveLastN, PerQuery, Split
from dssm_lightning.data.splits.later_events import later_events
from dssm_lightning.features import Categorical

EVENTS = pl.DataFrame(
    {
        "query_id": [number % 5 for number in range(40)],
        "candidate_id": [number * 7 % 19 for number in range(40)],
        "at": range(40),
    }
)
AGAIN = pl.DataFrame({"query_id": [0], "candidate_id": [0], "at": [39]})
"""The first event once more, after the first window."""
UNEVEN = EVENTS.filter((pl.col("query_id") < 3) | (pl.col("at") < 20))
"""Two queries end early."""


def data_of(split: Split, folder: Path, events: pl.DataFrame = EVENTS) -> RetrievalDataModule:
    source = Frames(events, time="at" if "at" in events.columns else None)
    query, candidate = [Categorical(name="query_id")], [Categorical(name="candidate_id")]
    return RetrievalDataModule(source, query, candidate, split, batch_size=8, cache_dir=str(folder))


def test_later_rows_are_nowhere(tmp_path: Path) -> None:
    events = EVENTS.vstack(AGAIN)
    for fold, tested, left_out in ((0, range(17, 25), 16), (1, range(25, 33), 8)):
        data = data_of(ByTime(0.2, 0.1, folds=3, fold=fold), tmp_path, events).data
        time = data.interactions.time
        assert time is not None
        assert time[data.interactions.rows(TEST)].tolist() == list(tested)
        assert len(time) + left_out == len(events)
        assert data.report["later interactions left out"] == left_out
        assert data.report["repeated interactions dropped"] == 0  # a later event does not take an earlier one's place
        assert data.interactions.rows(TRAIN)[0] == 0
        assert time.max() == time[data.interactions.rows(TEST)].max()
    last = data_of(ByTime(0.2, 0.1, folds=3), tmp_path, events).data
    assert last.report["repeated interactions dropped"] == 1
    assert "later interactions left out" not in last.report


def test_windows_have_caches_of_their_own(tmp_path: Path) -> None:
    folders = {data_of(ByTime(0.2, 0.1, folds=3, fold=fold), tmp_path).prepare() for fold in range(3)}
    assert len(folders) == 3


# -- later events of others --------------------------------------------------------------------------------------------


def test_the_share_of_later_events_by_a_loop(tmp_path: Path) -> None:
    events = data_of(LeaveLastN(2, 1), tmp_path, UNEVEN).data.interactions
    found = later_events(LeaveLastN(2, 1), events)
    assert found is not None
    assert events.time is not None
    train = events.rows(TRAIN).tolist()
    held_out = [*events.rows(VALIDATION).tolist(), *events.rows(TEST).tolist()]
    later = [
        [row for row in train if events.time[row] > events.time[each] and events.query[row] != events.query[each]]
        for each in held_out
    ]
    assert found.rows == pytest.approx(sum(map(bool, later)) / len(held_out))
    assert found.events == pytest.approx(sum(map(len, later)) / len(held_out) / len(train))


@pytest.mark.parametrize("split", [ByTime(0.2, 0.2), PerQuery(0.2, 0.2)])
def test_other_splits_say_nothing(split: Split, tmp_path: Path) -> None:
    assert later_events(split, data_of(split, tmp_path).data.interactions) is None


def test_a_fit_says_it_once_and_names_the_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dssm_lightning")
    data = data_of(LeaveLastN(1, 1), tmp_path, UNEVEN)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    lines = [record for record in caplog.records if "later" in record.message]
    assert [record.levelno for record in lines] == [logging.INFO]
    assert "40% of the validation and test rows" in lines[0].message
    assert "ByTime" in lines[0].message
