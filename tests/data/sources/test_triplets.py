"""Raw texts: lists of positives, no negatives, further columns."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.data.tables.tables import RawTables


def raw(folder: Path, *rows: dict[str, Any], **settings: Any) -> RawTables:
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Files(str(path), **settings).tables()


def row(query: str, positive: Any, **others: Any) -> dict[str, Any]:
    return {"query": query, "positive_doc": positive, **others}


@pytest.mark.parametrize("nothing", [[], None, [None]])
def test_all_lists_of_negatives_may_be_empty(tmp_path: Path, nothing: Any) -> None:
    found = raw(tmp_path, row("a", "x", negative_docs=nothing), row("b", "y", negative_docs=nothing))
    tables = found.resolve(["query"], ["doc"])
    assert tables.interactions["negative_docs"].to_list() == [[], []]
    assert tables.candidates["doc"].to_list() == ["x", "y"]


def test_a_list_of_positives_becomes_several_rows(tmp_path: Path) -> None:
    found = raw(tmp_path, row("a", ["x", "y"], negative_docs=["n"]), row("b", ["x"], negative_docs=[]))
    tables = found.resolve(["query"], ["doc"])
    assert tables.interactions.rows() == [("a", "x", ["n"]), ("a", "y", ["n"]), ("b", "x", [])]
    assert tables.candidates["doc"].to_list() == ["x", "y", "n"]


@pytest.mark.parametrize("positive", [[], None])
def test_each_row_needs_a_positive(tmp_path: Path, positive: Any) -> None:
    with pytest.raises(ValueError, match="positive_doc: 1 of 2 lists are empty, first in row 1"):
        raw(tmp_path, row("a", ["x"]), row("b", positive))


def test_lists_beside_texts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'positive_doc' of .*t\.jsonl has a text in line 1 and a list in line 2"):
        raw(tmp_path, row("a", "x"), row("b", ["x", "y"]))
    with pytest.raises(ValueError, match=r"positive_doc is List\(Int64\)"):
        raw(tmp_path, row("a", [1]))


def test_further_columns_stay_in_the_interactions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        found = raw(tmp_path, row("a", "x", source="faq", n=2), row("b", "y", source="wiki", n=1), weight="n")
    assert "source, n" in caplog.text
    tables = found.resolve(["query"], ["doc"])
    assert tables.interactions["source"].to_list() == ["faq", "wiki"]
    assert (tables.keys.query_id, tables.keys.weight) == ("query", "n")
    with pytest.raises(ValueError, match="'doc' and 'positive_doc'"):
        raw(tmp_path, row("a", "x", doc="y"))


def test_ids_that_are_named_and_exist_win(tmp_path: Path) -> None:
    found = raw(tmp_path, row("a", "x", qid=1, did=2), query_id="qid", candidate_id="did")
    assert found.resolve(["query"], ["positive_doc"]).candidates.rows() == [(2, "x")]
