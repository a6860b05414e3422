"""The bundle of a model of any shape answers as the model does, from raw values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.bundles import FACTS, export, same_answers, same_fusion
from helpers.retrievers import WORDS, shop, shop_table
from helpers.small import SCORER
from safetensors.numpy import load_file

from dssm_lightning.api import make_retriever
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.export import example_columns, flatten
from dssm_lightning.features import (
    Categorical,
    CategoricalList,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Words,
)
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

TITLE = HashedWords(name="text", num_buckets=300)
TEXTS = [{"words": f"{WORDS[n % 15]} {WORDS[(n * n + 1) % 15]}"} for n in range(8)]
HISTORIES = [{"history": [f"i{n}", f"i{2 * n % 30}", "i7"]} for n in range(8)] + [{"history": []}, {"history": ["no"]}]


def tower(output_dim: int = 16, **settings: Any) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": output_dim, **settings}}


def history(of: str, encoder: str, **settings: Any) -> dict[str, Any]:
    encoders = {"history": {"class_path": encoder, "init_args": {"output_dim": 16}}}
    return {
        "query": [History(name="history", of=of)],
        "candidate": [Categorical(name="item"), TITLE],
        "model": {"query_tower": tower(encoders=encoders), "candidate_tower": tower(**settings), "scorer": SCORER},
    }


def scored_by(class_path: str, **settings: Any) -> dict[str, Any]:
    scorer = {"class_path": class_path, "init_args": settings}
    towers = {side: tower(18, num_heads=settings.get("num_heads", 1)) for side in ("query_tower", "candidate_tower")}
    return {"model": {**towers, "scorer": scorer}}


def of_events() -> dict[str, Any]:
    """Each search has its own hour: a query column that varies by event."""
    pairs = [(f"q{q}", f"i{(5 * q + step) % 30}", float(step)) for q in range(12) for step in range(4)]
    interactions = pl.DataFrame(pairs, schema=["search", "item", "hour"], orient="row")
    source = Frames(interactions, None, shop_table(), query_id="search", candidate_id="item")
    return {
        "source": source,
        "query": [Categorical(name="search"), Numeric(name="hour")],
        "evaluate": "event",
    }


def with_pictures() -> dict[str, Any]:
    return {
        "source": Synthetic(num_queries=40, num_candidates=30),
        "query": [HashedWords(name="words", column="text", num_buckets=300)],
        "candidate": [Image(name="picture", size=32), CategoricalList(name="tags"), Numeric(name="size")],
    }


SHAPES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "texts": ({}, TEXTS),
    "categories": (
        {"query": [Categorical(name="search")], "candidate": [Categorical(name="item"), CategoricalList(name="tags")]},
        [{"search": f"q{n}"} for n in range(14)],
    ),
    "a history of ids": (history("item", "EmbeddingBag"), HISTORIES),
    "a history of whole candidates": (history("candidate", "GRU"), HISTORIES),
    "heads, the greatest": (scored_by("MultiHeadDot", num_heads=3, reduce="max", logit_scale=10), TEXTS),
    "heads, the mean": (scored_by("MultiHeadDot", num_heads=3, reduce="mean", logit_scale=10), TEXTS),
    "a learned scorer": (scored_by("MLPScorer", query_dim=18, candidate_dim=18), TEXTS),
    "a bias": ({"model": {"query_tower": tower(bias=True), "candidate_tower": tower(bias=True)}}, TEXTS),
    "without length 1": (
        {"model": {"query_tower": tower(normalize=False), "candidate_tower": tower(normalize=False)}},
        TEXTS,
    ),
    "pictures": (with_pictures(), [{"words": text["words"]} for text in TEXTS]),
    "liked by": ({"candidate": [TITLE, LikedBy(name="found by", of="words")]}, TEXTS),
    "trigrams and words": (
        {
            "query": [HashedTrigrams(name="words", num_buckets=99)],
            "candidate": [Words(name="text"), Numeric(name="sold")],
        },
        TEXTS,
    ),
    "columns of events": (of_events(), [{"search": f"q{n}", "hour": n / 2} for n in range(5)]),
}
QUICK = {"a learned scorer", "a history of whole candidates"}


def exported(name: str, folder: Path, **options: Any) -> tuple[Retriever, Path, list[Any]]:
    """The retriever of a model, its bundle, and queries."""
    changes, queries = SHAPES[name]
    if name == "pictures":
        queries = [{"text": each["words"]} for each in queries]
    model, data = shop(folder / "cache", **changes)
    return make_retriever(model, data), export(model, data, folder / "bundle", **options), queries


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHAPES]
)
def test_a_bundle_answers_as_its_model(name: str, tmp_path: Path) -> None:
    wanted, bundle, queries = exported(name, tmp_path)
    with Retriever.load(bundle) as found:
        same_answers(found, wanted, queries)
        same_answers(found, wanted, queries, k=len(wanted))
        for query in queries[:3]:
            same_answers(found, wanted, [query])
        np.testing.assert_allclose(found.encode_query(queries), wanted.encode_query(queries), atol=1e-5)
        assert found.schemas == wanted.schemas
        assert found.display == wanted.display
        same_similar = [
            [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in wanted.similar(wanted.corpus.rows.id(3), 3)]
        ]
        assert [(hit.id, hit.score) for hit in found.similar(found.corpus.rows.id(3), 3)] in same_similar
        if wanted.corpus.terms is not None:
            same_fusion(found, wanted, queries)
        if "history" in queries[0]:
            same_answers(found, wanted, queries, exclude_history=True)
    card, manifest = (bundle / "README.md").read_text(encoding="utf-8"), (bundle / "manifest.json").read_text()
    assert ("no index can serve" in card) == (name == "a learned scorer") == ('"num_indexes": 0' in manifest)
    assert ("## Precision" in card) == (name not in ("a learned scorer", "heads, the greatest"))
    assert str(tmp_path) not in card + manifest
    for path in bundle.rglob("*.onnx"):
        assert b"dssm_lightning/" not in path.read_bytes()  # no paths of this machine


@pytest.mark.slow
def test_candidates_of_raw_values_are_embedded_alike(tmp_path: Path) -> None:
    for name in ("liked by", "pictures"):
        wanted, bundle, _ = exported(name, tmp_path / name)
        given: list[Any] = (
            [{"text": "list files", "found by": ["list copy", "move"]}, {"text": "show"}]
            if name == "liked by"
            else [{"tags": ["t1"], "size": 2.0, "picture": None}]
        )
        np.testing.assert_allclose(
            Retriever.load(bundle).encode_candidate(given), wanted.encode_candidate(given), atol=1e-5
        )


@pytest.mark.slow
def test_tied_tables_are_stored_once(tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache", model={"tied_embeddings": {"words": "text"}})
    bundle = export(model, data, tmp_path / "bundle")
    saved = load_file(bundle / "model.safetensors")
    tables = [name for name, tensor in saved.items() if tensor.shape[0] == 300]
    assert len(tables) == 1
    same_answers(Retriever.load(bundle), make_retriever(model, data), TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["texts", "a history of whole candidates"])
def test_torch_programs_agree(name: str, tmp_path: Path) -> None:
    _, bundle, queries = exported(name, tmp_path, pt2=True)
    model, _ = shop(tmp_path / "again", **SHAPES[name][0])
    for side, encode in (("query", model.encode_query), ("candidate", model.encode_candidate)):
        program = torch.export.load(bundle / f"{side}.pt2").module()
        for lengths in ((3, 0, 2), (1, 4), (0, 0, 1, 5)):
            schema = getattr(model.schemas, side)
            with torch.no_grad():
                columns = example_columns(schema, model.schemas.candidate, lengths)
                columns = model.embed_histories(columns) if side == "query" else columns
                inputs = list(flatten(columns).values())
                torch.testing.assert_close(program(inputs), encode(columns), rtol=1e-5, atol=1e-5)
    assert len(Retriever.load(bundle).search(queries, k=1)) == len(queries)


@pytest.mark.slow
@pytest.mark.parametrize("vectors", ["float16", "int8", "binary"])
def test_less_precise_vectors_find_the_same(vectors: str, tmp_path: Path) -> None:
    """All candidates are scored again here, so that the answers are exact."""
    for name in ("texts", "heads, the mean"):
        wanted, bundle, queries = exported(name, tmp_path / name, vectors=vectors)
        [index] = Retriever.load(bundle).corpus.indexes
        assert index.settings["precision"] == vectors
        same_answers(Retriever.load(bundle), wanted, queries, k=5)


def test_an_unknown_precision_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vectors is 'int4'.*float32, float16, int8, binary"):
        export(*shop(tmp_path / "cache"), tmp_path / "bundle", vectors="int4")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_the_card_shows_what_was_measured(tmp_path: Path) -> None:
    facts = FACTS._replace(
        metrics={"test/recall@10": 0.5, "test/mrr": 0.25, "test/loss": 1.0},
        intervals={"test/recall@10": [0.4, 0.6]},
        baselines={"BM25": {"test/recall@10": 0.3}, "popularity": {"recall@10": 0.1}},
        source={"checkpoint": "x.ckpt", "run": "shop/version_3", "status": "The run shop/version_3 was interrupted"},
    )
    card = (export(*shop(tmp_path / "cache"), tmp_path / "bundle", facts) / "README.md").read_text(encoding="utf-8")
    assert "# shop/version_3" in card
    assert "**The run shop/version_3 was interrupted.**" in card
    assert "0.5000 (0.4000 – 0.6000)" in card
    for baseline, value in (("BM25", "0.3000"), ("popularity", "0.1000")):
        [line] = [line for line in card.splitlines() if line.startswith(f"| {baseline} ")]
        assert value in line
    for precision in ("float32 | 32 | 1.0000", "float16 | 16", "int8 | 8", "binary | 1"):
        assert f"| {precision}" in card


@pytest.mark.slow
def test_columns_with_odd_names(tmp_path: Path) -> None:
    table = shop_table().rename({"text": "na|me\n`x`", "price": "the price"})
    pairs = [(f"q{q}", f"i{(5 * q + step) % 30}") for q in range(12) for step in range(4)]
    interactions = pl.DataFrame(pairs, schema=["search", "item"], orient="row")
    queries = pl.DataFrame({"search": [f"q{q}" for q in range(12)], "wo'rds": ["list files"] * 12})
    source = Frames(interactions, queries, table, query_id="search", candidate_id="item")
    model, data = shop(
        tmp_path / "cache",
        source=source,
        query=[HashedWords(name="words", column="wo'rds", num_buckets=99)],
        candidate=[HashedWords(name="text", column="na|me\n`x`", num_buckets=99)],
    )
    bundle = export(model, data, tmp_path / "bundle")
    same_answers(Retriever.load(bundle), make_retriever(model, data), [{"wo'rds": "list"}])
    hits = Retriever.load(bundle).search("list", k=3, filter="`the price` > 2")
    assert len(hits) == 3
    rows = [
        line
        for line in (bundle / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| candidate")
    ]
    assert [row.count("|") - row.count("\\|") for row in rows] == [4]
