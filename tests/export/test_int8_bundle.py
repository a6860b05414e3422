"""Bundles of a model whose candidates are stored as int8: they rank as the module does, in every precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bundles import FACTS, export, same_answers
from helpers.retrievers import WORDS, shop

from dssm_lightning.api import make_retriever
from dssm_lightning.features import Categorical, HashedWords, History
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.retriever import Retriever

QUERIES = [{"words": f"{WORDS[n % 15]} {WORDS[(n * n + 1) % 15]}"} for n in range(8)]
DOT = {"class_path": "Dot", "init_args": {"logit_scale": 10}}
MAX = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 4, "reduce": "max"}}
MEAN = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 4}}


def tower(**settings: Any) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, **settings}}


def shaped(scorer: dict[str, Any], **settings: Any) -> dict[str, Any]:
    towers = {"query_tower": tower(**settings), "candidate_tower": tower(**settings, vectors="int8")}
    return {"model": {**towers, "scorer": scorer}}


SHAPES = {
    "dot": shaped(DOT),
    "bias": shaped(DOT, bias=True),
    "not normalised": shaped(DOT, normalize=False),
    "heads": shaped(MAX, num_heads=4),
    "mean of heads": shaped(MEAN, num_heads=4),
}


def index_of(retriever: Retriever) -> Exact:
    [index] = retriever.corpus.indexes
    assert isinstance(index, Exact)
    return index


@pytest.mark.parametrize(
    "shape", [pytest.param(SHAPES[k], id=k, marks=[pytest.mark.slow] * (k != "bias")) for k in SHAPES]
)
@pytest.mark.parametrize("precision", ["int8", pytest.param("float32", marks=pytest.mark.slow)])
def test_a_bundle_ranks_as_the_module_does(tmp_path: Path, shape: dict[str, Any], precision: str) -> None:
    model, data = shop(tmp_path / "cache", **shape)
    wanted = make_retriever(model, data)
    batches = data.corpus_batches()
    with torch.inference_mode():
        corpus = model.embed_corpus(batches, len(batches.numbers))
        scores = model.scorer(torch.from_numpy(wanted.encode_query(QUERIES)), corpus)
    for own, hits in zip(scores, wanted.search(QUERIES, k=10), strict=True):
        expected = own.sort(descending=True).values[:10]
        np.testing.assert_allclose([hit.score for hit in hits], expected, rtol=1e-4, atol=1e-5)
    found = Retriever.load(export(model, data, tmp_path / "bundle", vectors=precision))
    same_answers(found, wanted, QUERIES)


@pytest.mark.parametrize(
    ("precision", "rescore"), [("float32", None), ("float16", "int8"), ("int8", None), ("binary", "int8")]
)
@pytest.mark.slow
def test_the_best_are_scored_again_with_int8(tmp_path: Path, precision: str, rescore: str | None) -> None:
    model, data = shop(tmp_path / "cache", **shaped(DOT))
    index = index_of(Retriever.load(export(model, data, tmp_path / "bundle", vectors=precision)))
    assert (index.precision, index.rescore) == (precision, rescore)


@pytest.mark.slow
def test_other_models_are_scored_again_with_float32(tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache")
    index = index_of(Retriever.load(export(model, data, tmp_path / "bundle", vectors="int8")))
    assert (index.precision, index.rescore) == ("int8", "float32")


@pytest.mark.parametrize(("shape", "again"), [({}, "float32"), (shaped(DOT), "int8")])
def test_the_card_says_with_what_the_best_are_scored_again(tmp_path: Path, shape: dict[str, Any], again: str) -> None:
    bundle = export(*shop(tmp_path / "cache", **shape), tmp_path / "bundle")
    [line] = [line for line in (bundle / "README.md").read_text(encoding="utf-8").splitlines() if "again with" in line]
    assert f"scores the best again with {again} (" in line


def test_the_card_shows_what_the_index_finds(tmp_path: Path) -> None:
    """What a test measured through the index, with its intervals where there are any."""
    metrics = {"test/recall@10": 0.5, "test/mrr": 0.25, "test/index/recall@10": 0.4375}
    facts = FACTS._replace(metrics=metrics, intervals={"test/index/recall@10": [0.4, 0.6]})
    bundle = export(*shop(tmp_path / "cache"), tmp_path / "bundle", facts)
    lines = (bundle / "README.md").read_text(encoding="utf-8").splitlines()
    assert "| | recall@10 | mrr |" in lines
    assert "| through its index | 0.4375 (0.4000 – 0.6000) |  |" in lines
    plain = export(*shop(tmp_path / "cache"), tmp_path / "plain", FACTS._replace(metrics={"test/mrr": 0.25}))
    assert "through its index" not in (plain / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cut_bundle_ranks_as_the_cut_module_does(tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache", **shaped(DOT))
    model.truncate(4)
    wanted = make_retriever(model, data)
    same_answers(Retriever.load(export(model, data, tmp_path / "bundle", vectors="int8")), wanted, QUERIES)


@pytest.mark.slow
def test_a_history_of_candidates_reads_them_as_they_are_stored(tmp_path: Path) -> None:
    encoders = {"history": {"class_path": "EmbeddingBag", "init_args": {"output_dim": 16}}}
    model, data = shop(
        tmp_path / "cache",
        query=[History(name="history", of="candidate")],
        candidate=[Categorical(name="item"), HashedWords(name="text", num_buckets=300)],
        model={"query_tower": tower(encoders=encoders), "candidate_tower": tower(vectors="int8"), "scorer": DOT},
    )
    queries = [{"history": [f"i{n}", f"i{2 * n % 30}", "i7"]} for n in range(8)]
    wanted = make_retriever(model, data)
    same_answers(Retriever.load(export(model, data, tmp_path / "bundle", vectors="int8")), wanted, queries)
