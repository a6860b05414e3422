"""Ids and values of candidates, in memory and in files."""

from __future__ import annotations

import datetime
import json
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.any_value import QUICK, nested, raw_values, scalars
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.retrieval import candidate_rows
from dssm_lightning.retrieval.candidate_rows import HASHES, LINES, OFFSETS, CandidateRows
from dssm_lightning.retrieval.candidate_tables import kinds_of, rows_of, table_of
from dssm_lightning.utils.errors import UserError

ROWS = CandidateRows.of(["id", "name"], [["a", "ant\n\u2028"], [7, None], ["é", ["x", {"y": 1}]]])


def same(one: CandidateRows, other: CandidateRows) -> bool:
    values = [[rows.values(row) for row in range(len(rows))] for rows in (one, other)]
    found = [[rows.find(each[0]) for each in values[0]] for rows in (one, other)]
    return one.columns == other.columns and values[0] == values[1] and found[0] == found[1]


def test_values_are_found_by_id_and_by_row() -> None:
    assert [ROWS.values(row) for row in range(3)] == [["a", "ant\n\u2028"], [7, None], ["é", ["x", {"y": 1}]]]
    assert [ROWS.find(each) for each in ("a", 7, "7", 7.0, np.int8(7), "é", "z", 8)] == [0, 1, 1, 1, 1, 2, None, None]
    assert ROWS.column("name") == ["ant\n\u2028", None, ["x", {"y": 1}]]
    assert ROWS.column("id") == ["a", 7, "é"]


@QUICK
@given(st.lists(scalars(), min_size=1, max_size=4))
def test_an_id_of_any_value_is_found_or_refused(ids: list[Any]) -> None:
    try:
        rows = CandidateRows.of(["id"], [[each] for each in ids])
    except UserError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "'id'" in message
        assert "\n" not in message
        return
    for row, value in enumerate(ids):
        assert rows.find(value) == row
        assert rows.find(rows.id(row)) == row  # as an answer shows it
        json.dumps(rows.id(row), allow_nan=False)


@QUICK
@given(raw_values())
def test_a_value_of_any_type_is_stored_as_json_or_refused(value: Any) -> None:
    try:
        rows = CandidateRows.of(["id", "x"], [["a", value]])
    except UserError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "column x of candidate 'a'" in message
        return
    assert len(rows.values(0)) == 2
    assert rows.column("x") == [rows.values(0)[1]]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31), "2024-01-31T00:00:00"),
        (datetime.datetime(2024, 1, 31, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), "2024-01-30T22:00:00"),
        (datetime.timedelta(minutes=2), 120.0),
        (Decimal("1.50"), 1.5),
        (np.float32(0.5), 0.5),
        (float("nan"), None),
        (float("-inf"), -1.7976931348623157e308),
        (("a", 1), ["a", 1]),
        (np.array([1, 2]), [1, 2]),
        (True, True),
    ],
)
def test_values_as_json_holds_them(value: Any, stored: Any) -> None:
    assert CandidateRows.of(["id", "x"], [["a", value]]).values(0)[1] == stored


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[None, 1]], "id 'id' is missing"),
        ([["a", 1], ["b", 1], ["a", 2]], "id 'a' of column 'id' occurs twice"),
        ([[7, 1], ["7", 1]], "'7' of column 'id' occurs twice"),
        ([["a", b"x"]], "column x of candidate 'a'.*bytes"),
        ([["a", "\ud800"]], "column x of candidate 'a'"),
        ([["a", nested(5000)]], "column x of candidate 'a'"),
        ([["a", object()]], "column x of candidate 'a'.*object"),
    ],
)
def test_what_cannot_be_a_row(rows: list[list[Any]], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        CandidateRows.of(["id", "x"], rows)
    assert "\n" not in str(error.value)


def test_rows_are_added_and_removed_in_new_objects() -> None:
    added = CandidateRows.of(["id", "name"], [["b", "bee"]])
    longer = ROWS.with_rows(added)
    assert same(longer, CandidateRows.of(ROWS.columns, [*map(ROWS.values, range(3)), ["b", "bee"]]))
    assert same(longer.without([1, 2]), CandidateRows.of(ROWS.columns, [ROWS.values(0), ["b", "bee"]]))
    assert same(longer.without([]), longer)
    assert same(ROWS.with_rows(CandidateRows.of(ROWS.columns, [])), ROWS)
    assert (len(ROWS), ROWS.find("b"), longer.without([0]).find("a")) == (3, None, None)
    with pytest.raises(UserError, match="has the id '7' already"):
        ROWS.with_rows(CandidateRows.of(ROWS.columns, [["7", None]]))


def test_ids_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_rows, "hash_text", lambda text: 5 if text != "z" else 2**64 - 1)
    rows = CandidateRows.of(["id"], [["a"], ["b"], ["c"]])
    assert [rows.find(each) for each in "abcdz"] == [0, 1, 2, None, None]


def test_parsed_rows_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_rows, "MOST_PARSED", 2)
    rows = CandidateRows.of(["id"], [["a"], ["b"], ["c"]])
    assert [rows.id(row) for row in (0, 1, 2, 0, 1, 2)] == ["a", "b", "c"] * 2
    assert len(rows._parsed) <= 2


# -- files -------------------------------------------------------------------------------------------------------------


def test_saved_rows_are_the_same(tmp_path: Path) -> None:
    ROWS.save(tmp_path)
    assert same(CandidateRows.load(tmp_path, ROWS.columns, 3), ROWS)
    longer = CandidateRows.load(tmp_path, ROWS.columns, 3).with_rows(CandidateRows.of(ROWS.columns, [["b", None]]))
    assert [longer.id(row) for row in range(4)] == ["a", 7, "é", "b"]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    ROWS.save(tmp_path)
    with pytest.raises(UserError, match=r"row_offsets.*3 rows.*4"):
        CandidateRows.load(tmp_path, ROWS.columns, 4)
    good = {name: (tmp_path / name).read_bytes() for name in (LINES, OFFSETS, HASHES)}
    for name in good:
        for content in (b"", b"x", good[name][:-1], good[name][:-8], None):
            for other, bytes_ in good.items():
                (tmp_path / other).write_bytes(bytes_)
            (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match="row"):
                CandidateRows.load(tmp_path, ROWS.columns, 3).column("name")


@pytest.mark.parametrize(
    "line", [b'["a"]', b"{}", b'["a", 1', b'["a", 1], ["b", 2]', b'["a", 1]]\n[["b", 2]', b"[" * 9000]
)
def test_a_damaged_line_is_an_error(line: bytes, tmp_path: Path) -> None:
    rows = CandidateRows.of(["id", "x"], [["a", 1]])
    rows.save(tmp_path)
    (tmp_path / LINES).write_bytes(line + b"\n")
    np.save(tmp_path / OFFSETS, np.array([0, len(line) + 1]))
    for read in (lambda rows: rows.values(0), lambda rows: rows.column("x"), lambda rows: rows.find("a")):
        with pytest.raises(UserError, match=r"rows\.jsonl is damaged from row 0"):
            read(CandidateRows.load(tmp_path, ["id", "x"], 1))


def test_offsets_that_run_backwards_and_pickles(tmp_path: Path) -> None:
    ROWS.save(tmp_path)
    for wrong in ([0, 9, 3, 31], [5, 6, 7, 8], [0, 1, 2, 1 << 60]):
        np.save(tmp_path / OFFSETS, np.array(wrong))
        with pytest.raises(UserError, match=f"{OFFSETS} does not fit {LINES}"):
            CandidateRows.load(tmp_path, ROWS.columns, 3)
    np.save(tmp_path / OFFSETS, np.array([object()] * 4), allow_pickle=True)
    with pytest.raises(UserError, match=f"{OFFSETS} is missing or damaged"):
        CandidateRows.load(tmp_path, ROWS.columns, 3)
    np.save(tmp_path / OFFSETS, np.zeros(4, np.float32))
    with pytest.raises(UserError, match="float32"):
        CandidateRows.load(tmp_path, ROWS.columns, 3)


# -- tables ------------------------------------------------------------------------------------------------------------

TABLE = pl.DataFrame(
    {
        "id": ["a", "b", "c"],
        "day": [datetime.date(2024, 1, 31), None, datetime.date(1, 1, 1)],
        "time": [datetime.datetime(2024, 1, 31, 5, 6, 7, 123456), datetime.datetime(2024, 1, 31), None],
        "tags": [["x"], [], None],
        "price": [1.5, None, 3.0],
        "big": pl.Series([2**64 - 1, 2, 3], dtype=pl.UInt64),
        "sold": [True, None, False],
        "about": [{"a": 1}, {"a": 2}, None],
        "nothing": [None] * 3,
    }
)


def test_a_table_is_stored_and_read_again() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table_of(rows_of(TABLE), kinds_of(TABLE)).equals(TABLE)
    kinds = ["text", "date", "datetime", "other", "number", "number", "truth", "other", "other"]
    assert list(kinds_of(TABLE).values()) == kinds


def test_pictures_and_objects_are_left_out() -> None:
    table = pl.DataFrame({"id": [1], "picture": [b"png"], "name": ["x"]}).with_columns(
        thing=pl.Series([object()], dtype=pl.Object)
    )
    assert rows_of(table).columns == ["id", "name"]
    assert kinds_of(table) == {"id": "number", "name": "text"}
    with pytest.raises(UserError, match="'picture' holds Binary"):
        rows_of(table.select("picture", "name"))


def test_times_with_a_zone_are_in_utc() -> None:
    zone = pl.Series([datetime.datetime(2024, 1, 31, 5)]).dt.replace_time_zone("Europe/Berlin")
    table = pl.DataFrame({"id": ["a"], "time": zone})
    assert rows_of(table).values(0)[1] == "2024-01-31T04:00:00"
    assert table_of(rows_of(table), kinds_of(table))["time"].to_list() == [datetime.datetime(2024, 1, 31, 4)]
