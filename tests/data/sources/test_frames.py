"""Frames of Polars or pandas give the same tables; the fingerprint depends on every value."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dssm_lightning.data.sources import Frames

EVENTS = {"user": ["a", "a", "b"], "item": [1, 2, 1], "at": [3, 2, 1]}
ITEMS = {"item": [1, 2], "title": ["one", None]}


def test_polars_and_pandas_frames_give_the_same_tables() -> None:
    keys = {"query_id": "user", "candidate_id": "item", "time": "at"}
    polars = Frames(pl.DataFrame(EVENTS), candidates=pl.DataFrame(ITEMS), display=["title"], **keys)
    pandas = Frames(pd.DataFrame(EVENTS), candidates=pd.DataFrame(ITEMS), display=["title"], **keys)
    for source in (polars, pandas):
        tables = source.tables().resolve(["user"], ["title"])
        assert_frame_equal(tables.interactions, pl.DataFrame(EVENTS))
        assert_frame_equal(tables.candidates, pl.DataFrame(ITEMS))
        assert tables.queries["user"].to_list() == ["a", "b"]
        assert tables.keys.time == "at"
        assert tables.display == ("title",)


def test_other_tables_are_an_error() -> None:
    with pytest.raises(TypeError, match="Frames: candidates is dict"):
        Frames(pl.DataFrame(EVENTS), candidates=ITEMS).tables()


def test_the_fingerprint_depends_on_contents_names_types_and_roles() -> None:
    frame = pl.DataFrame(EVENTS)
    first = Frames(frame).fingerprint()
    assert Frames(pl.DataFrame(EVENTS)).fingerprint() == first
    assert Frames(pl.concat([frame[:1], frame[1:]], rechunk=False)).fingerprint() == first
    others = [
        Frames(frame.with_columns(at=pl.Series([3, 2, 0]))),
        Frames(frame.with_columns(pl.col("at").cast(pl.Int32))),
        Frames(frame.rename({"at": "when"})),
        Frames(frame[::-1]),
        Frames(frame, time="at"),
        Frames(frame, queries=frame),
        Frames(frame, candidates=frame),
        Frames(frame, display=["item"]),
    ]
    found = {first, *(source.fingerprint() for source in others)}
    assert len(found) == 1 + len(others)


def test_the_fingerprint_covers_lists_bytes_and_vectors() -> None:
    def fingerprint(tags: list[str], picture: bytes, vector: list[float]) -> str:
        frame = pl.DataFrame({"tags": [tags], "picture": [picture]})
        return Frames(frame.with_columns(v=pl.Series([vector], dtype=pl.Array(pl.Float32, 2)))).fingerprint()

    first = fingerprint(["a"], b"x", [1, 2])
    assert fingerprint(["a"], b"x", [1, 2]) == first
    assert len({first, fingerprint(["b"], b"x", [1, 2]), fingerprint(["a"], b"y", [1, 2])}) == 3
    assert fingerprint(["a"], b"x", [1, 3]) != first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], r"several types, 1 \(int\) in row 0 and 'a' \(str\) in row 1; .*astype\(str\)"),
        (["a", None, 1.5], r"several types, 'a' \(str\) in row 0 and 1.5 \(float\) in row 2"),
        ([True, "a"], "True .*'a'"),
        ([date(2020, 1, 1), datetime(2020, 1, 1, 5)], "date.* in row 0 and .*datetime"),
        ([timedelta(1), 1], "timedelta.* in row 0 and 1"),
        ([b"a", "a"], "bytes.* in row 0 and 'a'"),
        ([[1], 2], "list.* in row 0 and 2"),
        ([object()], "Python objects, .*object"),
        ([2**70], "Python objects, 1180591620717411303424"),
        ([complex(1)], "Python objects, .*complex"),
    ],
)
def test_pandas_columns_of_several_types_name_two_values(values: list[Any], message: str) -> None:
    frame = pd.DataFrame({"query_id": range(len(values)), "candidate_id": 1, "x": pd.Series(values, dtype=object)})
    for action in (Frames(frame).tables, Frames(frame).fingerprint):
        with pytest.raises(ValueError, match=f"Frames: interactions: column 'x' holds .*{message}"):
            action()


def test_pandas_objects_of_one_type() -> None:
    columns = {"s": ["a", None], "i": [1, None], "d": [date(2020, 1, 1), pd.NaT], "l": [["a"], []], "n": [1, 1.5]}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    found = Frames(frame).tables().interactions
    assert found["s"].to_list() == ["a", None]
    assert found["i"].to_list() == [1, None]
    assert found["d"].to_list() == [date(2020, 1, 1), None]
    assert found["l"].to_list() == [["a"], []]
    assert found["n"].to_list() == [1.0, 1.5]


def test_polars_columns_of_objects() -> None:
    frame = pl.DataFrame({"query_id": pl.Series([uuid.UUID(int=1)], dtype=pl.Object), "candidate_id": [1]})
    with pytest.raises(ValueError, match=r"Frames: queries: column 'query_id' holds Python objects, UUID.*text"):
        Frames(pl.DataFrame({"query_id": ["a"], "candidate_id": [1]}), queries=frame).tables()


def test_pandas_columns_of_one_name() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["query_id", "candidate_id", "query_id"])
    with pytest.raises(ValueError, match="Frames: interactions has two columns 'query_id'"):
        Frames(frame).tables()
