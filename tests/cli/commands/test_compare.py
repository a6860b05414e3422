"""``compare`` on hand-made results, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from dssm_lightning.cli.main import main

QUERIES = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, **columns: list[object]) -> str:
    """A run folder with these results."""
    (run := Path(name)).mkdir()
    pl.DataFrame(columns).write_parquet(run / "per_query.parquet")
    return name


def test_queries_are_paired_by_id_and_those_of_one_side_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    a = save("A", query_id=QUERIES, mrr=[1.0, 0.5, 0.25, 0.5], only=[0.0] * 4)
    b = save("B", query_id=["x", "c", "b", "a"], mrr=[0.0, 0.5, 1.0, 1.0])
    [found] = main(["compare", a, b])
    assert found.metric == "mrr"
    assert (found.a, found.b) == pytest.approx((1.75 / 3, 2.5 / 3))
    assert found.difference == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((0.0, 0.5))
    shown = capsys.readouterr().out
    assert "+0.2500" in shown
    assert "3 queries; left out: 1 that only A has, 1 that only B has" in shown
    [other] = main(["compare", b, a])
    assert other.difference == pytest.approx(-found.difference)


def test_events_are_paired_and_null_counts_in_neither(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"query_id": [1, 1, 2, 3], "candidate_id": [7, 8, 7, 7]}
    a = save("A", **keys, **{"ndcg@10": [0.5, 0.5, 0.0, None], "ndcg@5": [1.0, 1.0, 0.0, 0.0]})  # type: ignore[arg-type]  # lists
    b = save("B", **keys, **{"ndcg@10": [0.5, None, 1.0, 1.0], "ndcg@5": [1.0, 1.0, 0.0, 0.0]})  # type: ignore[arg-type]  # lists
    found = main(["compare", f"{a}/per_query.parquet", b, "--json", "--resamples", "200"])
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"] == [each._asdict() for each in found]
    assert (told["queries"], told["rows"]) == (3, 4)
    assert [each.metric for each in found] == ["ndcg@5", "ndcg@10"]  # by number
    assert (found[0].difference, found[0].p) == (0.0, 1.0)
    assert (found[1].a, found[1].b) == (0.25, 0.75)  # of two events


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query_id": ["x"], "mrr": [1.0]}, "A and B have no query in common: were they tested on the same rows"),
        ({"query_id": [1], "mrr": [1.0]}, "A and B have nothing in common: query_id is String and Int64"),
        ({"query_id": ["a"], "map@5": [1.0]}, "A and B have no metric in common"),
        (
            {"query_id": ["a"], "candidate_id": [1], "mrr": [1.0]},
            r"different protocols: A was measured by query, B by event \(data.evaluate\); measure both alike",
        ),
        ({"id": ["a"], "mrr": [1.0]}, "B: no column query_id, so test did not write it; it has id, mrr"),
    ],
)
def test_what_cannot_be_compared_is_named(columns: dict[str, list[object]], message: str) -> None:
    save("A", query_id=QUERIES, mrr=[1.0] * 4)
    save("B", **columns)
    with pytest.raises(ValueError, match=message):
        main(["compare", "A", "B"])


def test_what_is_not_there_is_named() -> None:
    save("A", query_id=QUERIES, mrr=[1.0] * 4)
    Path("empty").mkdir()
    Path("stray.ckpt").touch()
    Path("notes.txt").write_text("no table", encoding="utf-8")
    for given, message in (
        ("empty", r"empty has no per_query.parquet: run test first \(test --ckpt_path …/best.ckpt\)"),
        ("none", "none: no such run folder, checkpoint or file"),
        ("stray.ckpt", "stray.ckpt lies in no run folder: name a run folder or a file per_query.parquet"),
        ("notes.txt", "notes.txt is no Parquet file"),
    ):
        with pytest.raises(ValueError, match=message):
            main(["compare", "A", given])
    with pytest.raises(ValueError, match="--resamples 0: queries must be drawn at least once"):
        main(["compare", "A", "A", "--resamples=0"])
