"""MedQuAD: one file or the authors' XML, distinct questions, and the message for missing data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import MedQuAD
from dssm_lightning.data.splits import RandomQueries

PAIRS = [("What is flu ?", "A virus.\n   It spreads.", "information"), ("How to treat flu ?", "Rest.", "treatment")]


def lines(*pairs: tuple[str, str]) -> str:
    rest = {"focus": "Flu", "qtype": "information", "source": "1_A_QA"}
    return "".join(json.dumps({"question": q, "answer": a, **rest}) + "\n" for q, a in pairs)


def write(root: Path, name: str, text: str) -> Path:
    path = root / "medquad" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def resolved(root: Path) -> Any:
    return MedQuAD(str(root)).tables().resolve(["question"], ["answer"])


def test_equal_questions_are_one_query_and_equal_answers_one_candidate(tmp_path: Path) -> None:
    write(tmp_path, "qa.jsonl", lines(("q1", "a"), ("q2", "b"), ("q1", "b"), ("q1", "a"), ("q3", " ")))
    tables = resolved(tmp_path)
    assert tables.queries["question"].to_list() == ["q1", "q2"]
    assert tables.candidates.rows() == [(0, "a"), (1, "b")]
    assert tables.interactions.select("question", "answer_id").rows() == [("q1", 0), ("q2", 1), ("q1", 1)]


def test_the_repository_of_the_authors(tmp_path: Path) -> None:
    """White space becomes single spaces, and the collections without answers are left out."""
    answered = "".join(
        f'<QAPair pid="1"><Question qid="1" qtype="{kind}">{q}</Question><Answer>{a}</Answer></QAPair>'
        for q, a, kind in PAIRS
    )
    head = "<Document id='1' source='A'><Focus>Flu</Focus><QAPairs>"
    write(tmp_path, "1_A_QA/0001.xml", f"{head}{answered}</QAPairs></Document>")
    empty = '<QAPair pid="1"><Question qid="1" qtype="x">What is a ?</Question><Answer/></QAPair>'
    write(tmp_path, "10_MPlus_ADAM_QA/0001.xml", f"{head}{empty}</QAPairs></Document>")
    tables = resolved(tmp_path)
    assert tables.candidates["answer"].to_list() == ["A virus. It spreads.", "Rest."]
    assert tables.interactions.rows() == [
        ("What is flu ?", 0, "Flu", "information", "1_A_QA"),
        ("How to treat flu ?", 1, "Flu", "treatment", "1_A_QA"),
    ]


def test_no_question_is_on_both_sides_of_the_split(tmp_path: Path) -> None:
    write(tmp_path, "qa.jsonl", lines(*((f"q{i % 50}", f"a{i}") for i in range(200))))
    tables = resolved(tmp_path)
    fold = RandomQueries(test=0.1, validation=0.1).assign(tables)
    folds = tables.interactions.with_columns(fold=pl.Series(fold)).group_by("question").agg(pl.col("fold").n_unique())
    assert folds["fold"].max() == 1


def test_the_error_for_missing_data_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"MedQuAD: .*git clone https://github.com/abachaa/MedQuAD .*root.*DSSM_DATA"
    ):
        MedQuAD(str(tmp_path)).tables()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qa.jsonl", '{"question": "q"}\n', "MedQuAD: .*answer, focus, qtype, source; .*question"),
        ("qa.jsonl", "question, answer", r"MedQuAD: .*qa\.jsonl .*JSON Lines"),
        ("qa.jsonl", lines(("q", "")), "MedQuAD: no pair .*medquad"),
        ("1_A_QA/1.xml", "<Document>", r"MedQuAD: .*1\.xml .*XML"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message):
        MedQuAD(str(tmp_path)).tables()


def test_a_change_of_the_data_changes_the_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, "qa.jsonl", lines(("q", "a")))
    before = MedQuAD(str(tmp_path)).fingerprint()
    assert MedQuAD(str(tmp_path)).fingerprint() == before
    write(tmp_path, "qa.jsonl", lines(("q", "a"), ("r", "a")))
    assert MedQuAD(str(tmp_path)).fingerprint() != before


def test_the_published_sizes() -> None:
    root = os.environ.get("DSSM_DATA")
    if root is None or not (Path(root) / "medquad").is_dir():
        pytest.skip("MedQuAD is missing: DSSM_DATA names no folder with medquad")
    tables = MedQuAD(root).tables()
    assert tables.queries is not None
    assert tables.candidates is not None
    assert (len(tables.queries), len(tables.candidates), len(tables.interactions)) == (14_979, 15_809, 16_359)
