"""``index``: builds, measures and keeps indexes of a bundle."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from dssm_lightning.cli import index_measuring, index_table
from dssm_lightning.cli.index_measuring import MeasuredIndex, measure
from dssm_lightning.cli.index_settings import index_settings
from dssm_lightning.cli.main import main
from dssm_lightning.retrieval.bundle import manifest
from dssm_lightning.retrieval.bundle.manifest import Manifest
from dssm_lightning.retrieval.bundle.writing import rewrite
from dssm_lightning.retrieval.indexes import Faiss
from dssm_lightning.retrieval.retriever import Retriever


@pytest.fixture
def bundle(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy in the working folder."""
    shutil.copytree(exported / "bundle", tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Path("bundle")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_index_is_measured_and_kept(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Retriever.load(bundle).search_all(["bada", "tude"], 5)
    [row] = main(["index", "--bundle", "bundle", "--factory", "HNSW16", "--parameters", "efSearch=60"])
    shown = capsys.readouterr().out
    assert (row.engine, row.settings, row.kept, row.recall) == ("faiss", "HNSW16 efSearch=60", True, 1.0)
    assert "1 (faiss HNSW16 efSearch=60) is kept; it is the only one" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    retriever = Retriever.load(bundle)
    [index] = retriever.corpus.indexes
    assert isinstance(index, Faiss)
    assert (index.factory, index.parameters) == ("HNSW16", {"efSearch": 60})
    after = retriever.search_all(["bada", "tude"], 5)
    assert [[hit.id for hit in hits] for hits in after] == [[hit.id for hit in hits] for hits in before]


def test_several_are_compared(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--precision", "float32", "--precision", "binary", "--factory", "HNSW8", "--factory", "IVF2,Flat"]
    words += ["--parameters", "efSearch=16", "efSearch=64", "--parameters=nprobe=1", "--parameters=efConstruction=9"]
    rows = main(["index", "--bundle", "bundle", *words, "--keep", "4", "--k", "3"])
    assert [(row.engine, row.settings) for row in rows] == [
        ("exact", "float32"),
        ("exact", "binary"),
        ("faiss", "HNSW8 efSearch=16"),
        ("faiss", "HNSW8 efSearch=64"),
        ("faiss", "HNSW8 efConstruction=9 efSearch=128"),
        ("faiss", "IVF2,Flat nprobe=1"),
    ]
    assert [row.kept for row in rows] == [False, False, False, True, False, False]
    assert rows[2].build_seconds == rows[3].build_seconds  # built once
    assert rows[0].recall == 1
    assert all(0 <= recall <= 1 for row in rows for recall in (row.recall, *row.filtered_recall))
    assert all(len(row.filtered_recall) == 3 and row.queries_per_second > 0 and row.size > 0 for row in rows)
    shown = capsys.readouterr().out
    assert "4 (faiss HNSW8 efSearch=64) is kept, as --keep 4 asks" in shown
    assert Retriever.load(bundle).corpus.indexes[0].settings["parameters"] == {"efSearch": 64}
    table = json.loads((bundle / "index_table.json").read_text(encoding="utf-8"))
    assert (table["k"], table["candidates"], table["queries_from"]) == (3, 60, "query_sample.safetensors")
    found = main(["inspect", "--bundle", "bundle"])
    assert found["index_table"] == table
    assert found["index"]["settings"]["factory"] == "HNSW8"
    assert capsys.readouterr().out.count("HNSW8") == 4  # three rows, and the present index


def test_every_precision_without_an_option(bundle: Path) -> None:
    rows = main(["index", "--bundle", "bundle"])
    assert [row.settings for row in rows] == ["float32", "float16", "int8", "binary"]
    assert sum(row.kept for row in rows) == 1


@pytest.mark.parametrize(
    ("recalls", "speeds", "kept", "reason"),
    [
        ([1.0, 0.992, 0.98], [1, 5, 9], 1, "of at least 0.99.*fastest"),
        ([0.90, 0.98, 0.97], [1, 5, 9], 1, "none has a recall of 0.99.*highest"),
    ],
)
def test_the_kept_one_is_chosen(
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recalls: list[float],
    speeds: list[float],
    kept: int,
    reason: str,
) -> None:
    measured = iter(zip(recalls, speeds, strict=True))

    def joined(setting: Any, tables: Any) -> MeasuredIndex:
        recall, speed = next(measured)
        return MeasuredIndex(setting.engine, setting.label, recall, [recall] * 3, speed, speed, 0.0, 1)

    monkeypatch.setattr(index_measuring, "_joined", joined)
    rows = main(["index", "--bundle=bundle", *(f"--precision={each}" for each in ("float32", "int8", "binary"))])
    assert [row.kept for row in rows] == [number == kept for number in range(3)]
    assert Retriever.load(bundle).corpus.indexes[0].settings["precision"] == "int8"
    assert re.search(reason, capsys.readouterr().out)


def test_queries_of_a_file_measure_too(bundle: Path) -> None:
    pl.DataFrame({"text": ["bada", "tude fira", "x"]}).write_csv("queries.csv")
    main(["index", "--bundle", "bundle", "--precision", "int8", "--queries", "queries.csv"])
    table = main(["inspect", "--bundle", "bundle"])["index_table"]
    assert (table["queries"], table["queries_from"]) == (3, "queries.csv")
    save_file({"v": Retriever.load(bundle).encode_query(["a", "b"])}, "queries.safetensors")
    main(["index", "--bundle", "bundle", "--precision", "int8", "--queries", "queries.safetensors"])
    assert main(["inspect", "--bundle", "bundle"])["index_table"]["queries"] == 2


def test_qdrant_keeps_its_files_beside_the_bundle(bundle: Path) -> None:
    [row] = main(["index", "--bundle", "bundle", "--location", "points"])
    assert (row.engine, row.settings, row.recall) == ("qdrant", "", 1.0)
    index = Retriever.load(bundle).corpus.indexes[0]
    assert index.settings["location"] == str(Path("points").absolute())


def test_a_table_of_another_corpus_is_marked(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["index", "--bundle", "bundle", "--precision", "int8"])
    main(["inspect", "--bundle", "bundle"])
    assert "has changed" not in capsys.readouterr().out
    retriever = Retriever.load(bundle)
    retriever.remove(["c3"])
    retriever.save(bundle)
    main(["inspect", "--bundle", "bundle"])
    assert "the corpus has changed since the indexes were measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--factory", "PQ7"], "'PQ7'"),
        (["--factory", "HNSW16", "--factory", "Nonsense"], "'Nonsense'"),
        (["--parameters", "efSerch=4"], "'HNSW32'.*'efSerch'"),
        (["--parameters", "efSearch=a"], "--parameters efSearch=a"),
        (["--parameters", "efSearch"], "--parameters efSearch"),
        (["--parameters", "efSearch=1,efSearch=2"], "--parameters efSearch=1,efSearch=2"),
        (["--parameters", "efSearch=nan"], "--parameters efSearch=nan"),
        (["--engine", "fais"], "--engine is 'fais'.*did you mean 'faiss'"),
        (["--precision", "int4"], "--precision is 'int4'.*did you mean 'int8'"),
        (["--engine", "exact", "--factory", "HNSW16"], "--factory HNSW16.*--engine faiss"),
        (["--engine", "faiss", "--precision", "int8"], "--precision int8.*--engine exact"),
        (["--engine", "exact", "--location", "x"], "--location x.*--engine qdrant"),
        (["--engine", "qdrant"], "--engine qdrant.*--location"),
        (["--location", "http://localhost:6333"], "--location http://localhost:6333.*server"),
        (["--k", "0"], "k is 0.*60"),
        (["--k", "61"], "k is 61.*60"),
        (["--precision", "int8", "--keep", "2"], "--keep 2.*1 index"),
        (["--keep", "0"], "--keep 0.*4 indexes"),
        (["--queries", "none.csv"], r"none\.csv"),
        (["--queries", "wide.safetensors"], r"wide\.safetensors.*8 wide.*16"),
        (["--factory", "IVF64,Flat"], "'IVF64,Flat'.*60 vectors"),
    ],
)
def test_what_is_refused_changes_nothing(bundle: Path, words: list[str], message: str) -> None:
    save_file({"v": np.zeros((2, 8), np.float32)}, "wide.safetensors")
    before = content(bundle)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        main(["index", "--bundle", "bundle", *words])
    assert content(bundle) == before


@pytest.mark.parametrize(("engine", "words", "package"), [("faiss", ["--factory=HNSW8"], "faiss")])
def test_an_engine_that_is_not_installed(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, engine: str, words: list[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"{engine}.*dssm-lightning\[{engine}\]"):
        main(["index", "--bundle", "bundle", *words])


@pytest.mark.parametrize(
    ("folder", "message"),
    [("none", "none.*no such folder"), ("s3://a/b", "s3://a/b.*pull"), (".", r"manifest\.json")],
)
def test_places_without_a_bundle(bundle: Path, folder: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["index", "--bundle", folder])


def test_a_bundle_without_queries_needs_a_file_of_them(bundle: Path) -> None:
    def change(folder: Path, present: Manifest) -> Manifest:
        return present

    rewrite(bundle, bundle, change, ("query_sample.safetensors",))
    with pytest.raises(ValueError, match=r"bundle.*--queries"):
        main(["index", "--bundle", "bundle"])


def test_a_bundle_that_was_changed_meanwhile_is_not_replaced(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*arguments: Any) -> Any:
        retriever = Retriever.load(bundle)
        retriever.remove(["c1"])
        retriever.save(bundle)
        return original(*arguments)

    original = index_table.table_values
    monkeypatch.setattr(index_table, "table_values", measured)
    with pytest.raises(ValueError, match="bundle was changed"):
        main(["index", "--bundle", "bundle", "--precision", "int8"])
    assert len(Retriever.load(bundle)) == 59


def test_settings_that_share_a_built_index_follow_each_other() -> None:
    sets = ["efSearch=16,efConstruction=50", "efSearch=32", "efConstruction=50"]
    found = index_settings(None, ["HNSW8"], None, sets, None, 16)
    assert [(each.arguments["parameters"], each.parameters) for each in found] == [
        ({}, {"efSearch": 32}),
        ({"efConstruction": 50}, {"efSearch": 16}),
        ({"efConstruction": 50}, {"efSearch": 128}),
    ]


def test_each_head_has_the_same_index() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(2, 300, 4)), rng.normal(size=(2, 20, 4))
    settings = index_settings(["exact", "faiss"], ["HNSW8"], ["binary"], ["efSearch=4", "efSearch=300"], None, 4)
    found = measure(settings, vectors.astype(np.float32), queries.astype(np.float32), 5)
    assert len(found.indexes) == 2
    kept = [row.kept for row in found.rows].index(True)
    assert [index.engine for index in found.indexes] == [found.rows[kept].engine] * 2
    single = [measure(settings, *map(np.float32, (v[None], q[None])), 5) for v, q in zip(vectors, queries, strict=True)]
    for number, row in enumerate(found.rows):
        alone = [each.rows[number] for each in single]
        assert row.recall == pytest.approx(sum(each.recall for each in alone) / 2)
        assert row.size == sum(each.size for each in alone)


def test_a_scorer_that_no_index_can_serve_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace(manifest.read_manifest(bundle), num_indexes=0, scorer="MLPScorer")
    monkeypatch.setattr(manifest, "read_manifest", lambda folder: found)
    with pytest.raises(ValueError, match=r"MLPScorer.*no index"):
        main(["index", "--bundle", "bundle"])
