"""The commands that are plain functions, on one small run of text features."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import write_config
from rich.cells import cell_len

from dssm_lightning.api import load_data, load_run
from dssm_lightning.cli.hit_tables import show_table
from dssm_lightning.cli.main import main
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.retrieval.retriever import Hit

RUSSIAN = {
    "query": "смешной кот",
    "positive_doc": "улыбающаяся кошка",
    "negative_docs": ["грузовик", "красное яблоко"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml"))])
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def raw() -> pl.DataFrame:
    candidates = Synthetic(num_queries=100, num_candidates=60).tables().candidates
    assert candidates is not None
    return candidates


CHECKPOINT = Path("runs/texts/version_0/checkpoints/best.ckpt")


# -- search ------------------------------------------------------------------------------------------------------------


def test_search_ranks_as_the_model_scores(raw: pl.DataFrame) -> None:
    text = raw["text"][7]
    [hits] = main(["search", "--ckpt_path", str(CHECKPOINT), "--query", json.dumps({"text": text}), "--k", "5"])
    model, data = load_run(CHECKPOINT)
    schemas = model.schemas
    assert schemas is not None
    with torch.no_grad():
        scores = model(schemas.query.encode(pl.DataFrame({"text": [text]})), next(iter(data.corpus_batches())))[0]
    best = scores.round(decimals=4).sort(descending=True, stable=True).indices[:5]  # two texts have the same words
    assert [hit.id for hit in hits] == raw["candidate_id"][best.numpy()].to_list()
    assert [hit.score for hit in hits] == pytest.approx(scores[best].tolist(), abs=1e-5)
    assert [hit.display for hit in hits] == [{"text": t} for t in raw["text"][best.numpy()]]


def test_a_bare_text_stands_for_the_one_column(raw: pl.DataFrame) -> None:
    text = raw["text"][3]
    bare = main(["search", "--query", text, "--k=3"])
    assert bare == main(["search", "--query", json.dumps({"text": text}), "--k=3"])
    assert main(["search", "--query", "yes", "--query", "12", "--k=1"]) == [
        main(["search", "--query", "yes", "--k=1"])[0],
        main(["search", '--query={"text": "12"}', "--k=1"])[0],
    ]


def fit_pairs(folder: Path, documents: list[str]) -> None:
    """Train a small model of a pair of texts for each document, in the folder."""
    pairs = [{"query": f"a {document}", "positive_doc": document} for document in documents]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    data = {
        "source": {"class_path": "Files", "init_args": {"interactions": "pairs.jsonl"}},
        "split": {"class_path": "RandomRows", "init_args": {"test": 0, "validation": 0}},
        "query": [{"class_path": "HashedTrigrams", "init_args": {"name": "query"}}],
        "candidate": [{"class_path": "HashedTrigrams", "init_args": {"name": "doc"}}],
    }
    main(["fit", "--config", str(write_config(folder / "few.yaml", data=data, checkpoint={"monitor": None}))])


def test_search_shows_ten_or_all_of_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(main(["search", "--query", "any"])[0]) == 10
    monkeypatch.chdir(tmp_path)
    fit_pairs(tmp_path, ["cat", "dog", "fish"])
    assert {hit.id for hit in main(["search", "--query", "cat"])[0]} == {"cat", "dog", "fish"}


def test_lightnings_advertisement_is_not_shown(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="lightning.pytorch"):
        main(["validate", "--ckpt_path", str(CHECKPOINT)])
    assert "metrics: " in caplog.text
    assert "litlogger" not in caplog.text


def test_search_prints_a_table_or_json(raw: pl.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    [hits] = main(["search", "--query", raw["text"][0], "--k=2", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["query"] == raw["text"][0]
    assert [hit["id"] for hit in printed["hits"]] == [hit.id for hit in hits]
    assert set(printed["hits"][0]) == {"id", "score", "display"}
    main(["search", "--query", raw["text"][0], "--k=2"])
    shown = capsys.readouterr().out
    assert all(hit.id in shown for hit in hits)


MARKUP = ["[new] shoes", "[/bold] :cat: [link=x]", r"back\\[slash] {braces}"]


def test_texts_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Square brackets and colons are no markup and no emoji, in ids, display columns and queries."""
    monkeypatch.chdir(tmp_path)
    fit_pairs(tmp_path, MARKUP)
    capsys.readouterr()
    main(["search", "--query", "[red]shoes[/red] :dog:", "--query", '{"query": "[new]"}'])
    shown = capsys.readouterr().out
    assert "[red]shoes[/red] :dog:\n" in shown
    assert '{"query": "[new]"}\n' in shown
    for text in MARKUP:
        lines = [line for line in shown.splitlines() if text in line]
        assert len(lines) == 2, text  # once for each query


HITS = [
    Hit("an id of some words", 1.0, {"title": "a word " * 30, "path": "x" * 200, "year": None}),
    Hit(7, -12.5, {"title": "日本語の題名" * 20, "path": "short", "year": 1999}),
]


def test_a_table_of_hits_fits_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_table("a long query " * 20, HITS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    table = lines[next(place for place, line in enumerate(lines) if "rank" in line) :]
    for name in ("rank", "score", "id", "title", "path", "year"):
        assert name in table[0]
    shown = "\n".join(table)
    assert re.search(r"^ +1 +1\.0000 ", shown, re.MULTILINE)
    assert re.search(r"^ +2 +-12\.5000 +7 .* 1999 *$", shown, re.MULTILINE)
    assert shown.count("…") == 3  # at the end of the two long titles and of the long path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--query", "x", "--k", "61"], "k is 61.*60 candidates"),
        (["--query", "x", "--k", "0"], "k is 0.*60 candidates"),
        (
            ["--query", '{"texts": "x"}'],
            r"query column 'texts'.*\['text'\].*did you mean 'text'",
        ),
        (["--query", "{}"], r"query \{\}.*\['text'\]"),
        (["--query", '{"text": '], r'--query .*\{"text": .*JSON'),
        (["--query", "x", "--ckpt_path", "none.ckpt"], r"--ckpt_path none\.ckpt"),
        (["--query", ""], "text"),
    ],
)
def test_bad_searches(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["search", *options])


def test_without_a_run_there_is_nothing_to_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"--ckpt_path best.*runs.*best\.ckpt"):
        main(["search", "--query", "x"])


def test_unknown_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--query", "x", "--ckpt_pth", "best"])
    assert stopped.value.code == 2
    assert "did you mean 'ckpt_path'?" in capsys.readouterr().err


# -- score -------------------------------------------------------------------------------------------------------------


def test_score_in_russian(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps(RUSSIAN, ensure_ascii=False), encoding="utf-8")
    result = main(["score", "--input", str(path), "--ckpt_path", str(CHECKPOINT)])
    assert json.loads(capsys.readouterr().out) == result
    assert list(result) == ["query", "positive_doc", "negative_docs"]
    assert result["query"]["value"] == RUSSIAN["query"]
    assert result["positive_doc"]["value"] == RUSSIAN["positive_doc"]
    assert [each["value"] for each in result["negative_docs"]] == RUSSIAN["negative_docs"]
    query = torch.tensor(result["query"]["vector"])
    assert query.shape == (16,)
    for each in (result["positive_doc"], *result["negative_docs"]):
        assert each["similarity"] == pytest.approx(float(query @ torch.tensor(each["vector"])), abs=1e-5)
        assert -1.0001 <= each["similarity"] <= 1.0001  # a cosine: both towers normalise
    as_objects = {
        "query": {"text": RUSSIAN["query"]},
        "positive_doc": {"text": RUSSIAN["positive_doc"]},
        "negative_docs": [{"text": text} for text in RUSSIAN["negative_docs"]],
    }
    path.write_text(json.dumps(as_objects), encoding="utf-8")
    again = main(["score", f"--input={path}", f"--output={tmp_path / 'out.json'}"])
    assert again["query"]["vector"] == result["query"]["vector"]
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == again


def test_score_without_negatives(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps({"query": "a", "positive_doc": "b", "negative_docs": []}), encoding="utf-8")
    assert main(["score", "--input", str(path)])["negative_docs"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--input .*given\.json"),
        ("{", r"--input .*given\.json.*JSON"),
        ("[]", "--input .*query, positive_doc.*negative_docs.*list"),
        ('{"query": "a", "positive_doc": "b"}', r"--input .*negative_docs.*\['positive_doc', 'query'\]"),
        ('{"query": 3, "positive_doc": "b", "negative_docs": []}', r"query 3 .*\['text'\]"),
        ('{"query": {"txt": "a"}, "positive_doc": "b", "negative_docs": []}', "query column 'txt'"),
        ('{"query": "a", "positive_doc": {"name": "b"}, "negative_docs": []}', "candidate column 'name'"),
    ],
)
def test_bad_score_inputs(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "given.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        main(["score", "--input", str(path)])


# -- baseline ----------------------------------------------------------------------------------------------------------


def test_baselines_are_written_into_the_run_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results: dict[str, dict[str, float]] = main(["baseline", "--config", "texts.yaml"])
    written = json.loads((place / "runs/texts/version_0/baselines.json").read_text(encoding="utf-8"))
    assert written == results
    assert {name.partition("(")[0].strip().lower() for name in results} >= {"popularity", "ease", "bm25"}
    shown = capsys.readouterr().out
    for name, metrics in results.items():
        assert name.partition("(")[0] in shown
        assert f"{metrics['query_auroc']:.4f}" in shown  # the last of the columns: no digit is cut off
        assert {"recall@10", "mrr", "query_auroc", "seen_kept/recall@10", "coverage@10", "tail/mrr"} <= set(metrics)


def test_baselines_write_the_metrics_of_each_query(place: Path) -> None:
    results = main(["baseline", "--config", "texts.yaml"])
    [name] = [name for name in results if name.startswith("EASE(l2=300")]
    run = place / "runs/texts/version_0"
    frame = pl.read_parquet(run / "per_query.EASE-l2=300.0.parquet")
    assert frame["ndcg@10"].cast(pl.Float64).mean() == pytest.approx(results[name]["ndcg@10"], abs=1e-6)
    assert len(list(run.glob("per_query.*.parquet"))) == len(results)
    same = main(["compare", *(str(run / f"per_query.{each}.parquet") for each in ("Popularity", "Popularity"))])
    assert {each.p for each in same} == {1.0}


def test_baselines_rank_the_fold_and_the_columns_that_are_named(place: Path) -> None:
    by_tags = main(["baseline", "--config=texts.yaml", "--corpus_columns", "group", "--fold", "validation"])
    by_text = main(["baseline", "--config=texts.yaml", "--fold=validation"])
    tf_idf = next(name for name in by_text if "idf" in name.lower())
    assert by_tags[tf_idf] != by_text[tf_idf]
    with pytest.raises(ValueError, match=r"corpus_columns \['nme'\].*candidate_id, group"):
        main(["baseline", "--config", "texts.yaml", "--corpus_columns", "nme"])


def test_baselines_need_rows_and_files(tmp_path: Path) -> None:
    split = {"class_path": "PerQuery", "init_args": {"test": 0.2, "validation": 0}}
    path = write_config(tmp_path / "whole.yaml", data={"split": split})
    with pytest.raises(ValueError, match="validation"):
        main(["baseline", "--config", str(path), "--fold", "validation"])
    with pytest.raises(ValueError, match=r"--config missing\.yaml"):
        main(["baseline", "--config", "missing.yaml"])
    (tmp_path / "none.yaml").write_text("trainer: {max_epochs: 1}\n")
    with pytest.raises(ValueError, match=r"none\.yaml.*'data'"):
        main(["baseline", "--config", str(tmp_path / "none.yaml")])


def test_later_configs_override_earlier_ones(tmp_path: Path) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("data: {batch_size: 17, predict: query}\n", encoding="utf-8")
    data: Any = load_data(["texts.yaml", str(over)])
    assert (data.batch_size, data.predict) == (17, "query")
    assert data.recipe.source.num_queries == 100
