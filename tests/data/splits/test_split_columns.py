"""Columns that splits read, of any type: compared as text, or refused with the type."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import HashedQueries, PublishedFold, RandomQueries, Split
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError

READERS = [PublishedFold("part"), HashedQueries(0.5, 0.0, column="part"), RandomQueries(0.5, 0.0, among={"part": "a"})]
NAN = float("nan")


def tables(values: list[Any] | pl.Series) -> Tables:
    frame = pl.DataFrame({"query_id": [1, 2, 3, 4], "candidate_id": [5, 6, 7, 8]})
    return Frames(frame.with_columns(pl.Series("part", values))).tables().resolve([], [])


@pytest.mark.parametrize("split", READERS, ids=lambda split: type(split).__name__)
@pytest.mark.parametrize(
    "values",
    [[["a"]] * 4, [{"a": 1}] * 4, [timedelta(1)] * 4, [b"train"] * 4, pl.Series([[1, 2]] * 4, dtype=pl.Array(int, 2))],
    ids=["list", "struct", "duration", "binary", "array"],
)
def test_a_column_without_single_values_is_refused(split: Split, values: list[Any]) -> None:
    with pytest.raises(UserError, match=rf"{type(split).__name__}: column 'part' is .*texts, numbers, dates"):
        split.assign(tables(values))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1, 1, 2, 2], 1),
        (["01", "01", "1", "1"], "01"),
        ([1.5, 1.5, 2.0, 2.0], 1.5),
        ([True, True, False, False], True),
        ([True, True, False, False], "true"),
        ([date(2024, 1, 2)] * 2 + [date(2024, 1, 3)] * 2, "2024-01-02"),
        (["a", "a", None, None], "a"),
    ],
    ids=str,
)
def test_among_compares_as_text(values: list[Any], wanted: Any) -> None:
    fold = RandomQueries(0.5, 0.0, among={"part": wanted}).assign(tables(values))
    assert sorted(fold[:2]) == [0, 2]
    assert fold[2:].tolist() == [0, 0]


@pytest.mark.parametrize("values", [[1.0, NAN, 2.0, 3.0], ["a", None, "b", "c"]], ids=["nan", "null"])
def test_a_missing_value_is_not_hashed(values: list[Any]) -> None:
    with pytest.raises(UserError, match="column 'part' is missing in 1 of 4 rows"):
        HashedQueries(0.5, 0.0, column="part").assign(tables(values))


@pytest.mark.parametrize("values", [["train", "test", None, "test"], ["Train", "test"] * 2, ["train ", "test"] * 2])
def test_other_folds_are_refused(values: list[Any]) -> None:
    with pytest.raises(UserError, match=r"PublishedFold: column 'part' has .*must be 'train' and 'test'"):
        PublishedFold("part").assign(tables(values))
