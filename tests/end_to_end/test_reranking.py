"""Answer selection from TREC files, without a script: fit, test, baselines, report, and the numbers of pytrec_eval."""

from __future__ import annotations

import json
import os
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import ir_measures
import polars as pl
import pytest
import yaml
from helpers.listed import listed_frames
from helpers.paths import ROOT
from helpers.small import TEXT_CONFIG
from ir_measures import AP, RR, P, nDCG

from dssm_lightning.cli.main import main

SOURCE = """
class_path: Files
init_args:
  interactions: qrels.txt
  queries: queries.tsv
  candidates: collection.tsv
  separator: {interactions: " "}
  columns:
    interactions: [query_id, Q0, doc_id, rel]
    queries: [query_id, question]
    candidates: [doc_id, answer]
  candidate_id: doc_id
  positive: rel > 0
  grade: rel
"""
"""As docs/how-to/evaluate.md has it."""
MEASURES = {AP: "map", RR: "mrr", nDCG @ 10: "ndcg@10", P @ 1: "precision@1"}


def write_trec(
    folder: Path, judged: list[tuple[str, str, int]], questions: dict[str, str], answers: dict[str, str]
) -> None:
    """The three files, in the form in which TREC hands them out."""
    (folder / "qrels.txt").write_text("".join(f"{q} Q0 {d} {rel}\n" for q, d, rel in judged), encoding="utf-8")
    for name, texts in (("queries.tsv", questions), ("collection.tsv", answers)):
        (folder / name).write_text("".join(f"{key}\t{text}\n" for key, text in texts.items()), encoding="utf-8")


def write_listed_config(path: Path, **sections: dict[str, Any]) -> Path:
    words = {"class_path": "HashedWords", "init_args": {"num_buckets": 20000, "on_empty": "unknown"}}
    settings: dict[str, Any] = {
        **TEXT_CONFIG,
        "data": {
            "source": yaml.safe_load(SOURCE),
            "split": {"class_path": "RandomQueries", "init_args": {"test": 0.3, "validation": 0.2}},
            "evaluate": "listed",
            "batch_size": 64,
            "query": [{**words, "init_args": {"name": "question"}}],
            "candidate": [{**words, "init_args": {"name": "answer"}}],
        },
        "checkpoint": {"monitor": "val/map"},
    }
    for name, changes in sections.items():
        settings[name] = {**settings[name], **changes}
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def by_pytrec_eval(folder: Path) -> dict[str, float]:
    qrels = list(ir_measures.read_trec_qrels(str(folder / "qrels.trec")))
    found = ir_measures.calc_aggregate(list(MEASURES), qrels, ir_measures.read_trec_run(str(folder / "run.trec")))
    return {name: found[measure] for measure, name in MEASURES.items()}


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 questions with up to 15 of 40 answers each, a fifth of the lists without a right one."""
    monkeypatch.chdir(tmp_path)
    frames = listed_frames()
    judged = frames["interactions"].select("query", "page", "grade").rows()
    questions = {f"q{row}": f"w{row % 20} about {row}" for row in range(60)}
    write_trec(tmp_path, judged, questions, {f"c{row}": f"w{row % 20} says {row}" for row in range(40)})
    return tmp_path


def test_from_trec_files_to_a_report(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(write_listed_config(lists / "rerank.yaml"))
    main(["fit", "--config", config])
    main(["test", "--config", config, "--trec", "trec"])
    [run] = (lists / "runs" / "rerank").iterdir()
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    ours = {name: metrics[f"test/{name}"] for name in MEASURES.values()}
    assert ours == pytest.approx(by_pytrec_eval(lists / "trec"), abs=1e-6)
    assert metrics["test/lists_without_positive"] > 0
    assert {"test/map", "test/precision@1"} <= set(json.loads((run / "intervals.json").read_text(encoding="utf-8")))
    capsys.readouterr()
    found: Any = main(["baseline", "--config", config])
    assert {"BM25", "TfIdf", "Popularity", "LabelMeans"} <= {name.partition("(")[0] for name in found}
    assert {each["lists_without_positive"] for each in found.values()} == {metrics["test/lists_without_positive"]}
    assert "lists without a positive" in capsys.readouterr().out
    [other] = run.glob("per_query.BM25*.parquet")
    main(["compare", str(run), str(other)])
    assert "map" in capsys.readouterr().out
    main(["report", "--output", "report.html"])
    assert "each ranked among the candidates of its own list" in (lists / "report.html").read_text(encoding="utf-8")


def test_the_page_has_this_config() -> None:
    text = (ROOT / "docs" / "how-to" / "evaluate.md").read_text(encoding="utf-8")
    [block] = [each for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "evaluate: listed" in each]
    found = yaml.safe_load(block)
    assert found["data"]["source"] == yaml.safe_load(SOURCE)
    assert found["checkpoint"] == {"monitor": "val/map"}


def test_wrong_labels_are_refused_before_a_run(lists: Path) -> None:
    source = yaml.safe_load(SOURCE)
    del source["init_args"]["positive"]
    config = write_listed_config(lists / "rerank.yaml", data={"source": source})
    with pytest.raises(ValueError, match=r"evaluate: listed.*label"):
        main(["fit", "--config", str(config)])


# -- MedQuAD ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def medquad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list is the answers to all questions about the same subject, of which its own are right.

    Whole subjects are held out: an answer is wrong for the other questions of its subject, which training would tell.
    """
    path = Path(os.environ.get("DSSM_DATA", ""), "medquad", "qa.jsonl")
    if "DSSM_DATA" not in os.environ or not path.is_file():
        pytest.skip("MedQuAD is not at hand: DSSM_DATA names no folder with medquad")
    monkeypatch.chdir(tmp_path)
    table = pl.read_ndjson(path, infer_schema_length=None).filter(pl.col("answer").str.len_chars() > 0)
    subjects = defaultdict(list)
    for row in table.select("focus", "question", "answer").iter_rows(named=True):
        subjects[row["focus"]].append((row["question"], " ".join(row["answer"].split())[:2000]))
    chosen = random.Random(0).sample(
        [name for name, rows in sorted(subjects.items()) if 3 <= len({q for q, _ in rows}) <= 12], 75
    )
    judged, questions, answers = [], {}, {}
    for number, name in enumerate(chosen):
        own = list(dict.fromkeys(text for _, text in subjects[name]))
        answers |= {f"d{number}-{place}": text for place, text in enumerate(own)}
        for asked, question in enumerate(dict.fromkeys(text for text, _ in subjects[name])):
            part = "test" if number % 3 == 0 else "validation" if number % 3 == 1 and number < 30 else "train"
            questions[f"t{number}-{asked}"] = f"{question}\t{part}"
            right = {text for other, text in subjects[name] if other == question}
            judged += [
                (f"t{number}-{asked}", f"d{number}-{place}", int(text in right)) for place, text in enumerate(own)
            ]
    write_trec(tmp_path, judged, questions, answers)
    return tmp_path


@pytest.mark.slow
def test_medquads_answers_are_ordered_better_than_by_chance(medquad: Path) -> None:
    source = yaml.safe_load(SOURCE)
    source["init_args"]["columns"]["queries"].append("part")
    split = {"class_path": "PublishedFold", "init_args": {"column": "part"}}
    config = str(write_listed_config(medquad / "answers.yaml", data={"source": source, "split": split}))
    main(["fit", "--config", config])
    main(["test", "--config", config, "--trec", "trec"])
    [run] = (medquad / "runs" / "answers").iterdir()
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert {name: metrics[f"test/{name}"] for name in MEASURES.values()} == pytest.approx(
        by_pytrec_eval(medquad / "trec"), abs=1e-6
    )
    found: Any = main(["baseline", "--config", config])
    by_name = {name.partition("(")[0]: each for name, each in found.items()}
    assert by_name["Popularity"]["query_auroc"] == pytest.approx(0.5)  # nothing is known of new answers: all tie
    for each in (by_name["BM25"], by_name["TfIdf"], {"map": metrics["test/map"]}):
        assert each["map"] > by_name["Popularity"]["map"] + 0.03
