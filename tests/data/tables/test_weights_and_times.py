"""Columns of weights, grades and times, of any type: used as they are, or refused with column, value and row."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import ByTime, LeaveLastN
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError

IDS = {"query_id": [1, 1, 1, 1], "candidate_id": [5, 6, 7, 8]}
DAYS = (3, 1, 4, 2)  # in the order of time the rows are 1, 3, 0, 2


def resolve(role: str, values: list[Any] | pl.Series) -> Tables:
    frame = pl.DataFrame(IDS).with_columns(pl.Series("column", values))
    return Frames(frame, **{role: "column"}).tables().resolve([], [])


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None, 1e39, 1e300, 1e26, 1e-26, 1e-320])
def test_a_weight_that_no_sum_can_hold_is_refused(weight: float | None) -> None:
    with pytest.raises(UserError, match=rf"weight column 'column': 1 of 4.*first {re.escape(str(weight))} in row 2"):
        resolve("weight", [0.0, 1e25, weight, 1e-25])


def test_weights_may_be_zero_great_or_small() -> None:
    resolve("weight", [0.0, 1e25, 1e-25, 1.0])
    resolve("weight", [Decimal("0.5"), Decimal(1), Decimal(2), Decimal(0)])


@pytest.mark.parametrize("grade", [-1.0, 0.5, float("nan"), float("inf"), None, 1e39, 2.0**24 + 2])
def test_a_grade_that_is_no_whole_number_of_float32_is_refused(grade: float | None) -> None:
    with pytest.raises(UserError, match=r"grade column 'column': 1 of 4.* in row 1; .*16,777,216"):
        resolve("grade", [1.0, grade, 2.0, 3.0])


@pytest.mark.parametrize(
    "values",
    [
        pl.Series(DAYS),
        pl.Series([float(day) for day in DAYS]),
        pl.Series([2**62 + day for day in DAYS]),
        pl.Series([2**63 + day for day in DAYS], dtype=pl.UInt64),
        pl.Series([2**100 + day for day in DAYS], dtype=pl.Int128),
        pl.Series([Decimal(day) / 10 for day in DAYS]),
        pl.Series([date(2024, 1, day) for day in DAYS]),
        pl.Series([datetime(2024, 1, day) for day in DAYS], dtype=pl.Datetime("ns")),
        pl.Series([datetime(1950, 1, day) for day in DAYS], dtype=pl.Datetime("ms")),
        pl.Series([datetime(2024, 1, day, tzinfo=timezone.utc) for day in DAYS]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_times_of_any_type_have_the_same_order(values: pl.Series) -> None:
    tables = resolve("time", values)
    assert ByTime(test=0.25, validation=0.25).assign(tables).tolist() == [1, 0, 2, 0]
    assert LeaveLastN(test=1, validation=10**30).assign(tables).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("inf"), 2.0, 3.0], r"1 of 4 times are infinite, first inf in row 1"),
        ([1.0, 2.0, 3.0, float("-inf")], r"1 of 4 times are infinite, first -inf in row 3"),
        ([1.0, float("nan"), 2.0, 3.0], r"missing in 1 of 4 interactions, first in row 1"),
        ([1, None, 2, 3], r"missing in 1 of 4 interactions, first in row 1"),
        ([timedelta(day) for day in DAYS], "is Duration.*numbers, dates or datetimes"),
        ([time(day) for day in DAYS], "is Time"),
        (["2024", "2023", "2022", "2021"], "is String"),
        ([True] * 4, "is Boolean"),
        ([[1]] * 4, "is List"),
        ([b"1"] * 4, "is Binary"),
    ],
    ids=str,
)
def test_what_is_no_time_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=f"time column 'column'.*{message}"):
        resolve("time", values)
