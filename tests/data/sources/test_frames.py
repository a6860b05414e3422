"""Frames of Polars or pandas give the same tables; the fingerprint depends on every value."""

from __future__ import annotations

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
