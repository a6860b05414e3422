"""``rank``: lists of candidates from a file, in the order of a model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dssm_lightning.cli.main import main
from dssm_lightning.retrieval.retriever import Retriever

LISTS: list[dict[str, Any]] = [
    {"query": "bada moni", "candidates": ["c3", "c7", "c1"], "labels": [0, 1, 0]},
    {"query": {"text": "tude"}, "candidates": ["c5", {"text": "tude fira"}], "labels": [1, True], "id": "second"},
    {"query": "tude", "candidates": ["c5", "c6"], "labels": [0, 0]},
    {"query": "tude", "candidates": []},
]


@pytest.fixture(autouse=True)
def _there(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)


def written(folder: Path, lines: list[Any]) -> str:
    path = folder / "lists.jsonl"
    path.write_text(
        "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines), encoding="utf-8"
    )
    return str(path)


def ranked(folder: Path, lines: list[Any], *words: str) -> dict[str, float]:
    found: dict[str, float] = main(["rank", "--bundle", "bundle", "--input", written(folder, lines), *words])
    return found


def test_lists_are_ordered_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="dssm_lightning"):
        metrics = ranked(tmp_path, LISTS)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == [each["query"] for each in LISTS]
    retriever = Retriever.load("bundle")
    for line, given in zip(lines, LISTS, strict=True):
        scores = [each["score"] for each in line["candidates"]]
        assert scores == sorted(scores, reverse=True)
        expected = retriever.rank(given["query"], given["candidates"])
        assert [each["candidate"] for each in line["candidates"]] == [each.candidate for each in expected]
        assert scores == pytest.approx([each.score for each in expected])
        for each in line["candidates"] if "labels" in given else ():
            assert each["label"] == given["labels"][given["candidates"].index(each["candidate"])]
    assert lines[1]["id"] == "second"
    assert metrics["lists"] == 3
    assert metrics["lists_without_positive"] == 1
    place = [each["candidate"] for each in lines[0]["candidates"]].index("c7") + 1
    assert metrics["map"] == metrics["mrr"] == pytest.approx((1 / place + 1) / 2)
    assert metrics["precision@1"] == ((place == 1) + 1) / 2
    assert "lists with labels: 3; without a positive, and not averaged: 1" in caplog.text


def test_a_checkpoint_orders_as_its_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranked(tmp_path, LISTS)
    bundle = capsys.readouterr().out
    main(["rank", "--input", written(tmp_path, LISTS), "--ckpt_path", "best"])
    for ours, theirs in zip(bundle.splitlines(), capsys.readouterr().out.splitlines(), strict=True):
        one, other = (json.loads(each)["candidates"] for each in (ours, theirs))
        assert [each["candidate"] for each in one] == [each["candidate"] for each in other]
        assert [each["score"] for each in one] == pytest.approx([each["score"] for each in other], abs=1e-4)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_output_is_a_file(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / f"ranked{suffix}"
    ranked(tmp_path, LISTS, "--output", str(output))
    shown = capsys.readouterr().out
    assert "precision@1" in shown
    assert "without a positive, and not averaged: 1" in shown
    if suffix == ".jsonl":
        assert [len(json.loads(line)["candidates"]) for line in output.read_text().splitlines()] == [3, 2, 2, 0]
        return
    table = pl.read_parquet(output)
    assert table.columns == ["line", "id", "rank", "candidate", "score", "label"]
    assert table["line"].to_list() == [1, 1, 1, 2, 2, 3, 3]
    assert table.filter(pl.col("line") == 2)["candidate"].sort().to_list() == ["c5", '{"text": "tude fira"}']
    assert table.group_by("line", maintain_order=True).agg(pl.col("score").is_sorted(descending=True))["score"].all()


def test_without_labels_nothing_is_measured(tmp_path: Path) -> None:
    assert ranked(tmp_path, [{"query": "tude", "candidates": ["c5", "c6"]}]) == {}


def test_lists_without_any_positive_have_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ranked(tmp_path, [LISTS[2]], "--output", str(tmp_path / "x.jsonl")) == {
        "lists": 1,
        "lists_without_positive": 1,
    }
    assert "lists with labels: 1; without a positive, and not averaged: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not valid JSON"),
        ("[1]", "line 2 must be an object.*candidates"),
        ({"query": "tude"}, "line 2 must be an object.*'query'"),
        ({"query": "tude", "candidates": "c1"}, "line 2: candidates is 'c1'"),
        ({"query": "tude", "candidates": ["c1"], "label": [1]}, "line 2: unknown key 'label'.*did you mean 'labels'"),
        ({"query": "tude", "candidates": ["c1"], "labels": [1, 0]}, "line 2: labels.*1 candidates; found 2 values"),
        ({"query": "tude", "candidates": ["c1"], "labels": ["yes"]}, "line 2: the label 'yes'"),
        ({"query": "tude", "candidates": ["c1"], "labels": [-1]}, "line 2: the label -1"),
        ({"query": "tude", "candidates": ["c1", "none"]}, "line 2: no candidate has candidate_id = 'none'"),
        ({"query": {"txt": "tude"}, "candidates": ["c1"]}, "line 2: query column 'txt'.*did you mean 'text'"),
        ({"query": "tude", "candidates": [{"txt": "x"}]}, "line 2: candidate column 'txt'"),
        ({"query": {"text": 7.5}, "candidates": ["c1"]}, "line 2: .*text.*holds Float64"),
        ({"query": 7, "candidates": ["c1"]}, "line 2: query 7"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, message: str) -> None:
    output = tmp_path / "ranked.jsonl"
    with pytest.raises(ValueError, match=message):
        ranked(tmp_path, [LISTS[0], line], "--output", str(output))
    assert not output.exists()


def test_what_is_refused_before_the_lines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.jsonl: no such file"):
        main(["rank", "--bundle", "bundle", "--input", "none.jsonl"])
    with pytest.raises(ValueError, match="has no line"):
        ranked(tmp_path, ["", " "])
    with pytest.raises(ValueError, match=r"--output ranked\.csv.*jsonl"):
        ranked(tmp_path, LISTS, "--output", "ranked.csv")
    with pytest.raises(ValueError, match=r"--bundle bundle and --ckpt_path best"):
        ranked(tmp_path, LISTS, "--ckpt_path", "best")
