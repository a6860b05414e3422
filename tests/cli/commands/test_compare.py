"""``compare`` on hand-made results: pairs, slices, the width of the table, and refused input."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dssm_lightning.cli.commands.compare import compare
from dssm_lightning.cli.main import main
from dssm_lightning.evaluation import bootstrap

QUERIES = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, **columns: Any) -> str:
    """Make a run folder with these results."""
    (run := Path(name)).mkdir()
    pl.DataFrame(columns).write_parquet(run / "per_query.parquet")
    return name


def test_queries_are_paired_by_id_and_unpaired_queries_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    a = save("A", query_id=QUERIES, mrr=[1.0, 0.5, 0.25, 0.5], only=[0.0] * 4)
    b = save("B", query_id=["x", "c", "b", "a"], mrr=[0.0, 0.5, 1.0, 1.0])
    [found] = main(["compare", a, b])
    assert found.metric == "mrr"
    assert (found.a, found.b) == pytest.approx((1.75 / 3, 2.5 / 3))
    assert found.difference == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((0.0, 0.5))
    shown = capsys.readouterr().out
    assert "+0.2500" in shown
    assert "3 queries; left out: 1 only in A, 1 only in B" in shown
    [other] = main(["compare", b, a])
    assert other.difference == pytest.approx(-found.difference)


def test_events_are_paired_and_a_null_counts_for_neither_side(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"query_id": [1, 1, 2, 3], "candidate_id": [7, 8, 7, 7]}
    a = save("A", **keys, **{"ndcg@10": [0.5, 0.5, 0.0, None], "ndcg@5": [1.0, 1.0, 0.0, 0.0]})
    b = save("B", **keys, **{"ndcg@10": [0.5, None, 1.0, 1.0], "ndcg@5": [1.0, 1.0, 0.0, 0.0]})
    found = main(["compare", f"{a}/per_query.parquet", b, "--json", "--resamples", "200"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"] == [each._asdict() for each in found]
    assert (printed["queries"], printed["rows"]) == (3, 4)
    assert (printed["a"], printed["b"]) == (f"{a}/per_query.parquet", b)
    assert [each.metric for each in found] == ["ndcg@5", "ndcg@10"]  # by number
    assert (found[0].difference, found[0].p) == (0.0, 1.0)
    assert (found[1].a, found[1].b) == (0.25, 0.75)  # of two events


def save_slices(name: str, value: float) -> str:
    """25 queries; the slice `tail` has 20 of them, `cold_queries` 19, and 30 slices have 3."""
    queries = range(25)
    slices = {"tail": 20, "with_a_long_name_of_several_words": 25, "cold_queries": 19}
    slices |= {f"lang={number}": 3 for number in range(30)}
    columns: dict[str, Sequence[object]] = {
        "query_id": list(queries),
        "mrr": [value] * 25,
        "seen_kept/mrr": [value] * 25,
    }
    for each, size in slices.items():
        for metric in ("precision@100", "query_auroc"):
            columns[f"{each}/{metric}"] = [value if query < size else None for query in queries]
    columns["tail/query_auroc"] = [value] * 4 + [None] * 21  # fewer than the slice has
    return save(name, **columns)


def test_the_table_leaves_out_slices_of_fewer_than_20_queries(capsys: pytest.CaptureFixture[str]) -> None:
    found = main(["compare", save_slices("A", 0.25), save_slices("B", 0.5)])
    assert {"cold_queries/query_auroc", "lang=7/query_auroc"} <= {each.metric for each in found}
    table, _, rest = capsys.readouterr().out.partition("left out: slices with fewer than 20 queries:")
    assert [line.split(", ")[0].strip() for line in table.splitlines() if " queries" in line] == [
        "tail",
        "with a long name of several words",
    ]
    assert "tail, 20 queries" in table
    assert table.index("mrr") < table.index("seen kept") < table.index("tail")  # all queries first
    assert "cold" not in table
    assert "lang" not in table
    assert "cold_queries (19)" in rest
    assert "lang=7 (3)" in rest


def test_the_table_fits_80_columns_with_every_column_and_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["compare", save_slices("A", 0.25), save_slices("B", 0.5)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    [header] = [line for line in lines if "metric" in line]
    assert header.split() == ["metric", "A", "B", "B", "−", "A", "95", "%", "p"]
    rows = [line.split() for line in lines if "+0.2500 –" in line]
    assert [row[0] for row in rows] == ["mrr", "mrr", *["precision@100", "query_auroc"] * 2]
    expected = ["0.2500", "0.5000", "+0.2500", "+0.2500", "–", "+0.2500"]
    assert all(row[1:-1] == expected and float(row[-1]) < 0.05 for row in rows)
    assert "with a long name of several words, 25 queries" in (line.strip() for line in lines)


def test_resamples_default_to_those_of_an_evaluation() -> None:
    assert inspect.signature(compare).parameters["resamples"].default == bootstrap.RESAMPLES


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query_id": ["x"], "mrr": [1.0]}, "A and B have no query in common"),
        ({"query_id": [1], "mrr": [1.0]}, "A and B .*query_id.*String.*Int64"),
        ({"query_id": ["a"], "map@5": [1.0]}, "A and B have no metric in common"),
        (
            {"query_id": ["a"], "candidate_id": [1], "mrr": [1.0]},
            "A .*by query, B by event.*data.evaluate",
        ),
        ({"id": ["a"], "mrr": [1.0]}, "B: no column query_id.* id, mrr"),
    ],
)
def test_incomparable_results_are_refused(columns: dict[str, Sequence[object]], message: str) -> None:
    save("A", query_id=QUERIES, mrr=[1.0] * 4)
    save("B", **columns)
    with pytest.raises(ValueError, match=message):
        main(["compare", "A", "B"])


def test_missing_results_are_refused() -> None:
    save("A", query_id=QUERIES, mrr=[1.0] * 4)
    Path("empty").mkdir()
    Path("stray.ckpt").touch()
    Path("notes.txt").write_text("no table", encoding="utf-8")
    for given, message in (
        ("empty", "empty has no per_query.parquet.*test --ckpt_path"),
        ("none", "none: no such run folder"),
        ("stray.ckpt", "stray.ckpt .*no run folder.*per_query.parquet"),
        ("notes.txt", "notes.txt .*Parquet"),
    ):
        with pytest.raises(ValueError, match=message):
            main(["compare", "A", given])
    with pytest.raises(ValueError, match="--resamples is 0"):
        main(["compare", "A", "A", "--resamples=0"])
