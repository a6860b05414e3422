"""The unit of times is known by their size, and said."""

from __future__ import annotations

import logging
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import ByTime, LeaveLastN
from dssm_lightning.data.tables.times import seconds

AT = 1_700_000_000


@pytest.mark.parametrize(
    ("factor", "unit"), [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
@pytest.mark.parametrize("kind", [int, float, Decimal])
def test_units_are_told_apart(factor: int, unit: str, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        found = seconds(pl.Series("at", [kind((AT + day * 86400) * factor) for day in (0, 1)]))
    assert found.tolist() == [AT, AT + 86400]
    assert f"'at' holds {unit} since 1970: 2023-11-14 to 2023-11-15" in caplog.text


@pytest.mark.parametrize("values", [[1999, 2004], [0, AT * 1000], [20240131102030, 20240131102031], [-5.5, 3.0]])
def test_other_numbers_stay(values: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        assert seconds(pl.Series("at", values)).tolist() == values
    assert not caplog.text


def test_two_units_in_one_column_are_said() -> None:
    with pytest.warns(UserWarning, match=f"'at' seems to mix seconds .{AT}. and milliseconds"):
        assert seconds(pl.Series("at", [AT, AT * 1000])).tolist() == [AT, AT * 1000]


def test_datetimes_of_any_unit_and_zone() -> None:
    moment = datetime.fromtimestamp(AT, timezone.utc)
    for column in (
        pl.Series([moment]),
        pl.Series([moment.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
        pl.Series([moment]).dt.convert_time_zone("Asia/Tokyo"),
    ):
        assert seconds(column).tolist() == [AT]
    assert seconds(pl.Series([date(1970, 1, 2)])).tolist() == [86400]


@pytest.mark.parametrize(
    "values",
    [
        [Decimal("1.5"), Decimal("2.5"), Decimal("3.5")],
        [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)],
        [1, 2, 2**70],
    ],
)
def test_decimals_dates_and_wide_integers_split(values: list[Any]) -> None:
    dtype = pl.Int128 if values[-1] == 2**70 else None
    at = pl.Series(values, dtype=dtype)
    frame = pl.DataFrame({"query_id": [1] * 3, "candidate_id": [1, 2, 3], "at": at})
    tables = Frames(frame, time="at").tables().resolve([], [])
    assert ByTime(test=0.34, validation=0.34).assign(tables).tolist() == [0, 1, 2]
    assert LeaveLastN().assign(tables).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([timedelta(1), timedelta(2)], "Duration"),
        ([time(1), time(2)], "Time"),
        ([1.0, float("inf")], "infinite.*row 1"),
    ],
)
def test_times_that_are_refused(values: list[Any], message: str) -> None:
    frame = pl.DataFrame({"query_id": [1, 1], "candidate_id": [1, 2], "at": values})
    with pytest.raises(ValueError, match=f"time column 'at'.*{message}"):
        Frames(frame, time="at").tables().resolve([], [])


def test_a_split_by_time_names_the_setting() -> None:
    frame = pl.DataFrame({"query_id": [1, 1], "candidate_id": [1, 2]})
    with pytest.raises(ValueError, match="LeaveLastN needs a time, but the source's `time` names no column"):
        LeaveLastN().assign(Frames(frame).tables().resolve([], []))
