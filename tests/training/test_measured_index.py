"""``validate`` and ``test`` through a binary index: the metrics are those of the exported index's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.bundles import export
from helpers.listed import listed_data
from helpers.small import TOWER, small_data, small_model, small_trainer

from dssm_lightning.api import make_retriever
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.sources import Frames
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.metric_tables import show_results
from dssm_lightning.features import Vector
from dssm_lightning.models.scorers import Dot
from dssm_lightning.models.stored_vectors import round_to_int8
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.training.measured_index import MeasuredIndex
from dssm_lightning.utils.ragged import Ragged

BINARY = {**TOWER, "init_args": {**TOWER["init_args"], "output_dim": 8, "vectors": "binary"}}
STORED = {**TOWER, "init_args": {**TOWER["init_args"], "vectors": "binary"}}
HEADS = {**BINARY, "init_args": {**BINARY["init_args"], "num_heads": 2}}
MAX = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 2, "reduce": "max"}}


def many_candidates(tmp_path: Path) -> Any:
    """60 queries near 5 of 900 candidates each: an index compares bits for up to 2, and answers 5 with int8 alone."""
    rng = np.random.default_rng(0)
    near = rng.normal(size=(60, 6))
    candidates = rng.normal(size=(900, 6))
    candidates[:300] = near.repeat(5, 0) + 0.4 * rng.normal(size=(300, 6))
    tables = [
        pl.DataFrame({name: [f"{n}" for n in range(len(rows))], "place": rows.tolist()})
        for name, rows in (("query_id", near), ("candidate_id", candidates))
    ]
    pairs = {"query_id": [f"{n // 5}" for n in range(300)], "candidate_id": [f"{n}" for n in range(300)]}
    features = {side: [Vector(name="place", length=6)] for side in ("query", "candidate")}
    return small_data(tmp_path, source=Frames(pl.DataFrame(pairs), *tables), **features)


def built(data: Any, **settings: Any) -> Any:
    """A model with one tower for both sides."""
    torch.manual_seed(2)
    model = small_model(**{"query_tower": BINARY, "candidate_tower": None, "ks": [1, 2, 5]} | settings)
    data.prepare_data()
    data.setup("fit")
    model.build(data.schemas)
    return model.eval()


def metrics_of_answers(corpus: Corpus, model: Any, data: Any, fold: int, k: int) -> dict[str, float]:
    """The metrics of searches for k candidates that the query has not seen, one query at a time."""
    evaluation = Evaluation.of(data.ranking(fold), [k], data.labelled)
    for batch in data.evaluation_batches(fold):
        with torch.inference_mode():
            queries = model.embed_rows(model.encode_query, batch.query).numpy()
        scores = np.full((len(queries), 900), -1e6, np.float32)
        for row, query in enumerate(queries):
            seen = batch.seen.values[batch.seen.rows == row].tolist()
            [(found, places)] = corpus.search(query[None], k, None, [seen])
            assert len(places) == k
            scores[row, places] = found
        evaluation.update(torch.from_numpy(scores), batch)
    return {name: value for name, value in evaluation.compute().items() if name.endswith(f"@{k}") and "/" not in name}


def measured(tmp_path: Path, model: Any, data: Any, fold: int) -> dict[str, float]:
    trainer = small_trainer(tmp_path)
    stage, measure = ("val", trainer.validate) if fold == VALIDATION else ("test", trainer.test)
    [found] = measure(model, data, verbose=False)
    start = f"{stage}/index/"
    return {name.removeprefix(start): each for name, each in found.items() if name.startswith(start)}


def same_metrics(found: dict[str, float], corpus: Corpus, model: Any, data: Any, fold: int) -> None:
    wanted = {name: each for k in (1, 2, 5) for name, each in metrics_of_answers(corpus, model, data, fold, k).items()}
    assert found == {name: float(np.float32(each)) for name, each in wanted.items()}  # Lightning logs float32


@pytest.mark.parametrize("fold", [VALIDATION, TEST])
@pytest.mark.parametrize("heads", [False, True])
def test_what_is_measured_is_what_a_binary_index_finds(tmp_path: Path, fold: int, heads: bool) -> None:
    data = many_candidates(tmp_path)
    model = built(data, **({"scorer": MAX, "query_tower": HEADS} if heads else {}))
    given = make_retriever(model, data).corpus
    like = [Exact("binary", rescore="int8")] * len(given.indexes)
    corpus = Corpus.build(given.towers, given.rows, given.embeddings, like=like)
    same_metrics(measured(tmp_path, model, data, fold), corpus, model, data, fold)


@pytest.mark.slow
def test_export_writes_the_measured_index(tmp_path: Path) -> None:
    data = many_candidates(tmp_path)
    model = built(data)
    corpus = Retriever.load(export(model, data, tmp_path / "bundle")).corpus
    assert [each.settings for each in corpus.indexes] == [Exact("binary", rescore="int8").settings]
    same_metrics(measured(tmp_path, model, data, TEST), corpus, model, data, TEST)


def test_candidates_that_the_bits_miss_rank_last() -> None:
    """Queries are 200 of 900 candidates with noise: 3 bits do not tell candidates apart."""
    generator = torch.manual_seed(0)
    corpus = round_to_int8(torch.nn.functional.normalize(torch.randn(900, 3, generator=generator)))
    query = corpus[:200] + 0.05 * torch.randn(200, 3, generator=generator)
    own = Ragged(torch.arange(200), torch.arange(201))
    batch = EvaluationBatch({}, torch.arange(200), own, Ragged(own.values[:0], torch.zeros_like(own.offsets)), None)
    measured = MeasuredIndex(corpus, Dot(), [1, 5], lambda ks: Evaluation(ks, labelled=False))
    measured.update(query, query @ corpus.T, batch)
    found, index = measured.compute(), Exact("binary", rescore="int8").build(corpus.numpy())
    for k, misses in ((1, True), (5, False)):  # 900 is at most 8 · 40 · 5: int8 scores all
        rows, best = index.search(query.numpy(), k).rows, (query @ corpus.T).topk(k).indices.numpy()
        hits, all_hits = ((each == np.arange(200)[:, None]).any(1).mean() for each in (rows, best))
        assert found[f"index/recall@{k}"] == pytest.approx(hits)
        assert (hits != all_hits) == misses


def test_the_table_shows_both(capsys: pytest.CaptureFixture[str]) -> None:
    show_results({"test/ndcg@10": 0.5, "test/index/ndcg@10": 0.4375, "test/mrr": 0.3}, {})
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["through", "the", "index", "0.4375"] in shown
    assert ["all", "scored", "0.5000"] in shown


def test_candidates_are_stored_as_int8(tmp_path: Path) -> None:
    data = many_candidates(tmp_path)
    stored = []
    for vectors in ("int8", "binary"):
        model = built(data, query_tower={**BINARY, "init_args": {**BINARY["init_args"], "vectors": vectors}})
        batches = data.corpus_batches()
        with torch.inference_mode():
            stored.append(model.embed_corpus(batches, len(batches.numbers)))
    assert torch.equal(*stored)


@pytest.mark.parametrize("vectors", [None, "int8"])
def test_other_models_have_no_such_metrics(tmp_path: Path, vectors: str | None) -> None:
    data = many_candidates(tmp_path)
    model = built(data, query_tower={**BINARY, "init_args": {**BINARY["init_args"], "vectors": vectors}})
    [metrics] = small_trainer(tmp_path).test(model, data, verbose=False)
    assert not any("index/" in name for name in metrics)


def test_lists_are_not_searched(tmp_path: Path) -> None:
    data = listed_data(tmp_path)
    model = small_model(query_tower=TOWER, candidate_tower=STORED)
    model.build(data.schemas)
    [metrics] = small_trainer(tmp_path).test(model, data, verbose=False)
    assert not any("index/" in name for name in metrics)
