"""Files of the best candidates keep the types of the candidates' columns in each batch."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from dssm_lightning.cli.topk_files import topk_file
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.hits import Hit, hits_of

COLUMNS = ["id", "rank", "tags", "day", "seen", "none", "size"]
ROWS: list[list[Any]] = [
    [1, None, None, None, None, None, None],
    [2, "a", ["x", 'y"'], datetime.date(2024, 1, 31), datetime.datetime(2024, 1, 31, 12, 0, 0, 5), None, 1],
    [3, "b", [], datetime.date(1999, 1, 1), datetime.datetime(2024, 1, 31), None, 2.5],
]
KINDS = {"id": "number", "rank": "text", "tags": "other", "day": "date", "seen": "datetime", "size": "number"}


def write(output: Path, query_name: str = "q") -> None:
    rows = CandidateRows.of(COLUMNS, ROWS)
    corpus = cast("Corpus", SimpleNamespace(rows=rows, kinds=KINDS))
    with topk_file(output, corpus, COLUMNS[1:], query_name) as writer:
        for number, found in enumerate([[0], [1, 2], [0, 0, 0], []]):  # the first batch has no values
            hits: list[Hit] = hits_of(rows, COLUMNS[1:], [(np.full(len(found), 0.5), np.array(found))])[0]
            writer.add(pl.Series([f"q{number}"]), [hits])


def test_types_are_those_of_the_corpus(tmp_path: Path) -> None:
    write(tmp_path / "topk.parquet", query_name="score")
    found = pl.read_parquet(tmp_path / "topk.parquet")
    assert found.columns == ["query_score", "rank", "id", "score", "candidate_rank", *COLUMNS[2:]]
    assert found.schema["id"] == pl.Int64
    assert found.schema["score"] == pl.Float32
    assert found.schema["size"] == pl.Float64
    assert found.schema["day"] == pl.Date
    assert found.schema["seen"] == pl.Datetime("us")
    assert found["query_score"].to_list() == ["q0", "q1", "q1", "q2", "q2", "q2"]
    assert found["rank"].to_list() == [1, 1, 2, 1, 2, 3]
    assert found.drop("query_score", "rank", "score").row(1) == tuple(ROWS[1])


def test_csv_holds_lists_as_json(tmp_path: Path) -> None:
    write(tmp_path / "topk.csv")
    found = pl.read_csv(tmp_path / "topk.csv")
    assert json.loads(found["tags"][1]) == ["x", 'y"']
    assert found["day"].to_list()[:3] == [None, "2024-01-31", "1999-01-01"]


def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path) -> None:
    output = tmp_path / "topk.parquet"
    output.write_text("before")
    rows = CandidateRows.of(COLUMNS, ROWS)
    corpus = cast("Corpus", SimpleNamespace(rows=rows, kinds=KINDS))
    with pytest.raises(OSError, match="full"), topk_file(output, corpus, [], "q"):
        raise OSError("the disk is full")
    assert output.read_text() == "before"
    assert list(tmp_path.iterdir()) == [output]
