"""scripts/large_data.py: synthetic data are reproducible, and the time and memory of a fit are measured."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from helpers.paths import SCRIPTS


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import large_data

        yield large_data
        del sys.modules["large_data"]


def test_made_data_are_as_asked_for(script: ModuleType, tmp_path: Path) -> None:
    frames = []
    for place in ("a", "b"):
        script.main(["make", str(tmp_path / place), "--rows", "60000"])
        assert len(list((tmp_path / place / "interactions").iterdir())) == 50
        frames.append(pl.read_parquet(tmp_path / place / "interactions"))
    assert frames[0].equals(frames[1])
    events = frames[0]
    queries, candidates = (pl.read_parquet(tmp_path / "a" / f"{side}.parquet") for side in ("queries", "candidates"))
    assert (len(events), len(queries), len(candidates)) == (60_000, 2_400, 6_000)
    assert events.join(queries, on="user_id", how="anti").is_empty()
    assert events.join(candidates, on="item_id", how="anti").is_empty()
    group = (events["user_id"] - 11) // 7 % script.GROUPS
    of_item = (events["item_id"] - 5) // 3 % script.GROUPS
    assert 0.79 < (group == of_item).mean() < 0.82  # type: ignore[operator]  # a float


@pytest.mark.slow
def test_a_fit_is_measured(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.make(tmp_path / "data", 40_000)
    found = script.measure(tmp_path / "data", steps=2, batch_size=64)
    assert 0 < found["seconds to prepare"] < found["seconds in all"]
    # two tables of 1,000,001 × 64 floats, two moments of each, the layers after them
    assert found["of which tables and optimizer"] == pytest.approx(6 * 1_000_001 * 64 * 4 / 2**30, rel=0.01)
    assert 0.1 < found["GiB to prepare"] < found["GiB to train"] < found["of which tables and optimizer"] + 3
