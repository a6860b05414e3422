"""`Files` leaves out rows and reads missing values and packed columns on request."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.utils.errors import UserError


def write(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {
        "interactions": write(tmp_path / "likes.csv", "user,item,stars", "a,1,5", "b,2,4", "a,9,3", ",1,2", "b,1,"),
        "candidates": write(tmp_path / "items.csv", "item,age", "1,7", "2,NA", "1,8", ",3"),
        "query_id": "user",
        "candidate_id": "item",
        "positive": "stars >= 4",
    }


def test_rows_that_cannot_be_used_are_left_out(settings: dict[str, Any]) -> None:
    source = Files(**settings, missing=["NA"], drop=["missing", "repeated", "unknown"])
    tables = source.tables().resolve([], ["age"])
    assert tables.interactions.rows() == [("a", 1, "5", 1), ("b", 2, "4", 1)]
    assert tables.candidates.rows() == [(1, "7"), (2, None)]


@pytest.mark.parametrize(
    ("drop", "found"),
    [
        (["repeated", "unknown"], "stars.*missing"),
        (["missing", "unknown"], "'item'.*once"),
        (["missing", "repeated"], "9"),
    ],
)
def test_rows_that_are_not_left_out_are_errors(settings: dict[str, Any], drop: list[str], found: str) -> None:
    with pytest.raises(UserError, match=found):
        Files(**settings, drop=drop).tables().resolve([], [])


def test_an_unknown_kind_of_rows_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"drop is 'doubled'.*missing, repeated, unknown"):
        Files(**settings, drop=["doubled"])


def test_each_table_has_its_own_layout(tmp_path: Path) -> None:
    source = Files(
        write(tmp_path / "u.data", "user\titem", "a\t1", "b\t2"),
        candidates=write(tmp_path / "u.item", "item|title", "1|Amélie", '2|"Up"', encoding="latin-1"),
        query_id="user",
        candidate_id="item",
        separator={"interactions": "\t", "candidates": "|"},
        encoding={"candidates": "latin-1"},
        quote={"candidates": True},
    )
    candidates = source.tables().candidates
    assert candidates is not None
    assert candidates.rows() == [(1, "Amélie"), (2, "Up")]


@pytest.mark.parametrize("setting", ["separator", "encoding", "quote"])
def test_a_layout_of_no_table_is_named(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match=rf"table of {setting} is 'items'.*interactions"):
        Files("likes.csv", **{setting: {"items": "utf-8"}})


def test_packed_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "flat.tsv",
        "query_id\tcandidate_id\ttags\tvector\tpicture",
        f"1\t2\t['a', 'b']\t[0.5, 1]\t{base64.b64encode(b'abc').decode()}",
        "1\t3\t[]\t2 3\t",
    )
    types = {"tags": "list", "vector": "vector", "picture": "base64"}
    rows = Files(path, dtypes=types).tables().interactions.rows()
    assert rows == [(1, 2, ["a", "b"], [0.5, 1.0], b"abc"), (1, 3, [], [2.0, 3.0], None)]
    with pytest.raises(UserError, match=r"'tags'.*no vectors.*'a', 'b'"):
        Files(path, dtypes={"tags": "vector"}).tables()
    with pytest.raises(UserError, match="base64"):
        Files(path, dtypes={"tags": "base64"}).tables()
