"""Negatives that a column lists: ids of the corpus as they are written, or one line that names a wrong one."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.preparation.named_negatives import explicit_negatives
from dssm_lightning.data.sources import Frames
from dssm_lightning.utils.errors import UserError

BIG = 2**63


def found(ids: list[Any], lists: list[Any] | pl.Series) -> list[list[int]]:
    """Return the corpus rows that the lists name; one candidate of each row is its positive."""
    frame = pl.DataFrame({"query_id": range(len(lists)), "candidate_id": [ids[0]] * len(lists)})
    candidates = pl.DataFrame({"candidate_id": ids})
    source = Frames(frame.with_columns(pl.Series("worse", lists)), candidates=candidates)
    rows = explicit_negatives(source.tables().resolve([], []), "worse", None)
    return [part.tolist() for part in rows.values.split(rows.lengths.tolist())]


@pytest.mark.parametrize(
    "lists",
    [
        [[6], [5, 7]],
        [[6.0], [5.0, 7.0]],
        [["6"], ["5", "7"]],
        ["[6]", "[5, 7]"],
        ['["6"]', "[5.0, 7e0]"],
        pl.Series([[6], [5, 7]], dtype=pl.List(pl.UInt8)),
        [[6, None], [None, 5, 7]],
    ],
    ids=str,
)
def test_numbers_of_any_type_name_candidates(lists: list[Any]) -> None:
    assert found([5, 6, 7], lists) == [[1], [0, 2]]


def test_lists_may_be_empty_or_missing_or_of_fixed_length() -> None:
    assert found([5, 6, 7], [[], [5], None]) == [[], [0], []]
    assert found([5, 6, 7], ["[]", "[5]", None]) == [[], [0], []]
    assert found([5, 6, 7], pl.Series([[5, 6]], dtype=pl.Array(pl.Int64, 2))) == [[0, 1]]
    assert found(["05", "5"], [["5"], ["05"]]) == [[1], [0]]
    assert found(["05", "5"], [[5], [5]]) == [[1], [1]]


@pytest.mark.parametrize(
    ("ids", "lists", "message"),
    [
        ([5, 6], [[6.5], [5.0]], r"1 values that are no Int64 ids, first \[6.5\]"),
        ([5, 6], [[float("nan")], [5.0]], r"first \[nan\]"),
        ([5, 6], [["06"], ["5"]], r"first \['06'\]"),
        ([5, 6], [["x"], ["5"]], r"first \['x'\]"),
        ([5, 6], ["[6.5]", "[5]"], r"first \['6.5'\]"),
        ([5, 6], ["[true]", "[5]"], r"first \['true'\]"),
        ([5, 6], [f"[{BIG}]", "[5]"], rf"first \['{BIG}'\]"),
        ([5, 6], pl.Series([[BIG], [5]], dtype=pl.List(pl.UInt64)), rf"first \[{BIG}\]"),
        ([5, 6], [[True], [False]], "lists of Boolean"),
        ([5, 6], [[date(2024, 1, 1)], []], "lists of Date"),
        ([5, 6], [[[5]], [[6]]], r"lists of List\(Int64\)"),
        ([5, 6], [[{"id": 5}], []], "lists of Struct"),
        ([5, 6], [[b"5"], []], "lists of Binary"),
        ([5, 6], [5, 6], "is Int64; it must hold lists"),
        ([5, 6], ["[5]", "[6"], "no JSON such as"),
        ([5, 6], ['{"a": 1}', "[6]"], "no JSON such as"),
        ([5, 6], [[9], [5]], r"1 candidates that the corpus does not have, first \[9\]"),
        (["05"], [[5], [5]], r"2 candidates that the corpus does not have, first \['5', '5'\]"),
    ],
    ids=str,
)
def test_what_is_no_id_is_refused(ids: list[Any], lists: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        found(ids, lists)
    assert "negatives column 'worse'" in str(error.value)
    assert "\n" not in str(error.value)
