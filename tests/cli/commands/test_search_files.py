"""``search --queries FILE --output FILE``: the best candidates of many queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from dssm_lightning.cli import query_answers
from dssm_lightning.cli.main import main
from dssm_lightning.retrieval.retriever import Retriever

TEXTS = ["bada moni", "tude, fira", 'a "b"\nc', "tude fira", "x"]


@pytest.fixture(autouse=True)
def _there(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)


@pytest.fixture(scope="module")
def retriever(exported: Path) -> Retriever:
    return Retriever.load(exported / "bundle")


def write(path: Path, **columns: list[Any]) -> str:
    frame = pl.DataFrame(columns)
    writers = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}
    writers[path.suffix](path)
    return str(path)


def read(path: Path) -> pl.DataFrame:
    return {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[path.suffix](path)


def search(queries: str, output: Path, *words: str) -> pl.DataFrame:
    assert main(["search", "--bundle=bundle", "--queries", queries, "--output", str(output), *words]) == output
    return read(output)


@pytest.mark.parametrize("source", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("target", [".csv", ".jsonl", ".parquet"])
def test_each_query_has_its_hits(tmp_path: Path, retriever: Retriever, source: str, target: str) -> None:
    ids = [7, 3, 9, 1, 5]
    queries = write(tmp_path / f"queries{source}", note=["n"] * 5, text=TEXTS, query_id=ids)
    output = tmp_path / "new" / f"topk{target}"
    found = search(queries, output, "--k=4", "--id_column=query_id")
    assert found.columns == ["query_id", "rank", "candidate_id", "score", "text"]
    expected = retriever.search_all(TEXTS, 4)
    assert found["query_id"].cast(pl.Int64).to_list() == [each for each in ids for _ in range(4)]
    assert found["rank"].to_list() == [1, 2, 3, 4] * 5
    assert found["candidate_id"].to_list() == [hit.id for hits in expected for hit in hits]
    assert found["text"].to_list() == [hit.display["text"] for hits in expected for hit in hits]
    assert found["score"].to_list() == pytest.approx([hit.score for hits in expected for hit in hits], rel=1e-6)


def test_the_id_is_the_first_column_that_the_model_does_not_read_or_the_row(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", text=TEXTS, tags=[["a"]] * 5, qid=list("abcde"), other=[1] * 5)
    assert search(path, tmp_path / "a.parquet", "--k=1")["qid"].to_list() == list("abcde")
    path = write(tmp_path / "bare.csv", text=TEXTS)
    assert search(path, tmp_path / "b.parquet", "--k=2")["row"].to_list() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    path = write(tmp_path / "same.csv", candidate_id=list("abcde"), text=TEXTS)
    columns = search(path, tmp_path / "c.parquet", "--k=1").columns
    assert columns == ["query_candidate_id", "rank", "candidate_id", "score", "text"]


def test_batches_do_not_change_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "q.csv", text=TEXTS)
    whole = search(path, tmp_path / "a.parquet", "--k=3")
    for limit in ("MOST_QUERIES", "MOST_HITS"):
        monkeypatch.setattr(query_answers, limit, 6 if limit == "MOST_HITS" else 2)
        parts = search(path, tmp_path / "b.parquet", "--k=3")
        assert parts.drop("score").equals(whole.drop("score"))
        assert parts["score"].to_list() == pytest.approx(whole["score"].to_list(), rel=1e-5)


def test_a_checkpoint_answers_files_too(tmp_path: Path) -> None:
    path = write(tmp_path / "q.csv", text=TEXTS)
    ours = search(path, tmp_path / "a.parquet", "--k=3")
    main(["search", "--queries", path, "--output", str(tmp_path / "b.parquet"), "--k=3"])
    theirs = read(tmp_path / "b.parquet")
    assert theirs.drop("score").equals(ours.drop("score"))
    assert theirs["score"].to_list() == pytest.approx(ours["score"].to_list(), rel=1e-4)


def test_options_hold_for_each_query(tmp_path: Path, retriever: Retriever) -> None:
    path = write(tmp_path / "q.csv", text=TEXTS)
    words = ["--k=3", "--exclude=c3", "--filter", "group = 'group-1'", "--hybrid", "--hybrid_weight=2"]
    found = search(path, tmp_path / "a.jsonl", *words)
    expected = retriever.search_all(TEXTS, 3, exclude=["c3"], filter="group = 'group-1'", hybrid=2)
    assert found["candidate_id"].to_list() == [hit.id for hits in expected for hit in hits]
    for filter, count in (("text = 'none'", 0), ("candidate_id = 'c5'", 5)):
        few = search(path, tmp_path / "few.parquet", "--k=3", "--filter", filter)
        assert few.schema["candidate_id"] == pl.String
        assert few["candidate_id"].to_list() == ["c5"] * count


def test_the_history_of_each_query_is_left_out(
    tmp_path: Path, exported_history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported_history)
    path = write(tmp_path / "q.jsonl", text=TEXTS[:2], history=[["c1", "c2"], ["c3"]])
    found = search(path, tmp_path / "a.parquet", "--k=58", "--exclude_history")
    for row, history in enumerate([{"c1", "c2"}, {"c3"}]):
        own = set(found.filter(pl.col("row") == row)["candidate_id"])
        assert len(own) == 58
        assert not own & history
    path = write(tmp_path / "texts.csv", text=TEXTS, histroy=["c1"] * 5)
    with pytest.warns(UserWarning, match=r"texts\.csv.*\['history'\].*\['histroy'\]"):
        search(path, tmp_path / "b.parquet", "--k=1")


# -- stored vectors ----------------------------------------------------------------------------------------------------


def test_stored_vectors_are_searched(tmp_path: Path, retriever: Retriever) -> None:
    vectors = retriever.encode_query(TEXTS)
    expected = [hit.id for hits in retriever.search_vectors(vectors, 4) for hit in hits]
    save_file({"any": vectors}, tmp_path / "v.safetensors")
    found = search(str(tmp_path / "v.safetensors"), tmp_path / "a.parquet", "--k=4")
    assert (found["candidate_id"].to_list(), found["row"].to_list()[:5]) == (expected, [0, 0, 0, 0, 1])
    as_array = pl.Series("vector", vectors, pl.Array(pl.Float32, 16))
    for column in (as_array, as_array.arr.to_list()):
        pl.DataFrame([pl.Series("id", list("abcde")), column]).write_parquet(tmp_path / "v.parquet")
        found = search(str(tmp_path / "v.parquet"), tmp_path / "b.parquet", "--k=4")
        assert found["candidate_id"].to_list() == expected
        assert found["id"].to_list() == [each for each in "abcde" for _ in range(4)]


def test_diverse_answers_of_texts_and_of_vectors(tmp_path: Path, retriever: Retriever) -> None:
    expected = [hit.id for hits in retriever.search_all(TEXTS, 4, diversity=0.8) for hit in hits]
    assert expected != [hit.id for hits in retriever.search_all(TEXTS, 4) for hit in hits]
    path = write(tmp_path / "q.jsonl", text=TEXTS)
    save_file({"any": retriever.encode_query(TEXTS)}, tmp_path / "v.safetensors")
    for each in (path, str(tmp_path / "v.safetensors")):
        found = search(each, tmp_path / "a.parquet", "--k=4", "--diversity=0.8")
        assert found["candidate_id"].to_list() == expected


def test_what_predict_writes_is_searched(tmp_path: Path) -> None:
    main(["predict", "--data.predict=query", "--embeddings.output", str(tmp_path / "queries.parquet")])
    found = search(str(tmp_path / "queries.parquet"), tmp_path / "a.parquet", "--k=2")
    assert found["id"].n_unique() == 100
    assert len(found) == 200


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--queries=q.csv"], "--queries q.csv.*--output"),
        (["--output=a.parquet"], "--output a.parquet.*--queries"),
        (["--query=x", "--output=a.parquet"], "--output a.parquet.*--queries"),
        (["--query=x", "--id_column=a"], "--id_column a.*--queries"),
        (["--query=x", "--queries=q.csv", "--output=a.csv"], "--query x.*--queries q.csv"),
        (["--queries=q.csv", "--output=a.csv", "--json"], "--json.*--query"),
        (["--queries=q.csv", "--output=a.csv", "--picture=p.png"], "--picture p.png.*--query"),
        (["--queries=q.csv", "--output=runs"], "--output runs is a folder"),
        (["--queries=q.csv", "--output=a.txt"], r"--output a\.txt.*'\.txt'.*\.parquet"),
        (["--queries=q.csv", "--output=a.csv", "--k=0"], "k is 0"),
        (["--queries=none.csv", "--output=a.csv"], r"--queries.*none\.csv"),
        (["--queries=none.safetensors", "--output=a.csv"], r"--queries none\.safetensors"),
        (["--queries=texts.yaml", "--output=a.csv"], r"--queries: the format of texts\.yaml"),
    ],
)
def test_options_that_do_not_fit(words: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main(["search", "--bundle=bundle", *words])


@pytest.mark.parametrize(
    ("columns", "words", "message"),
    [
        ({"txt": ["a"]}, [], r"q\.jsonl.*\['txt'\].*\['text'\].*did you mean 'txt'"),
        ({"text": ["a"], "n": [1]}, ["--id_column=nn"], r"--id_column nn.*q\.jsonl.*'n'"),
        ({"text": ["a"], "n": [[1]]}, ["--id_column=n"], "--id_column n:.*lists"),
        ({"text": ["a", "b", ""]}, [], r"q\.jsonl, in rows 1 to 3.*text"),
        ({"text": ["a"], "n": [1]}, ["--exclude=c99"], "c99"),
        ({"text": []}, [], r"q\.jsonl"),
    ],
)
def test_files_of_queries_that_are_refused(
    tmp_path: Path, columns: dict[str, list[Any]], words: list[str], message: str
) -> None:
    path = write(tmp_path / "q.jsonl", **columns)
    output = tmp_path / "out.csv"
    output.write_text("before", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        search(path, output, *words)
    assert output.read_text(encoding="utf-8") == "before"
    assert {each.name for each in tmp_path.iterdir()} == {"q.jsonl", "out.csv"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1], "vector": [[0.5] * 8]}, "8 wide.*16 wide"),
        ({"id": [1, 2], "vector": [[0.5] * 16, [0.5]]}, "'vector'.*long"),
        ({"id": [1, 2], "vector": [[0.5] * 16, None]}, "'vector'.*row"),
        ({"id": [1], "vector": ["0.5"]}, "'vector'.*numbers"),
        ({"id": [1], "vector": [[float("nan")] * 16]}, "rows 1 to 1.*not finite"),
        ({"id": [1], "vector": [[0.5] * 16], "head": [0]}, "Dot.*predict.*encode_query"),
    ],
)
def test_vectors_that_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(ValueError, match=message):
        search(str(tmp_path / "v.parquet"), tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("tensors", "words", "message"),
    [
        ({"a": np.zeros((2, 8), np.float32)}, [], "8 wide.*16 wide"),
        ({"a": np.zeros(16, np.float32)}, [], r"\(16,\)"),
        ({"a": np.zeros((2, 16), np.int64)}, [], "int64"),
        ({"a": np.zeros((1, 16), np.float32), "b": np.zeros((1, 16), np.float32)}, [], r"\['a', 'b'\]"),
        ({"a": np.zeros((0, 16), np.float32)}, [], "no query"),
        ({"a": np.zeros((1, 16), np.float32)}, ["--id_column=a"], "--id_column a"),
        ({"a": np.zeros((1, 16), np.float32)}, ["--hybrid"], "--hybrid"),
        ({"a": np.zeros((1, 16), np.float32)}, ["--exclude_history"], "--exclude_history"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, tensors: dict[str, Any], words: list[str], message: str) -> None:
    save_file(tensors, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match=rf"v\.safetensors.*{message}|{message}.*v\.safetensors"):
        search(str(tmp_path / "v.safetensors"), tmp_path / "a.csv", *words)


def test_a_damaged_tensor_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.safetensors").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"v\.safetensors.*safetensors"):
        search(str(tmp_path / "v.safetensors"), tmp_path / "a.csv")
