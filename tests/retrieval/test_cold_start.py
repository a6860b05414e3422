"""Queries and candidates that training never saw: ranked by their histories and attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.small import SCORER, small_model, small_trainer, write_config

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import make_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.features import Categorical, CategoricalList, Feature, HashedWords, History, Vector
from dssm_lightning.retrieval.retriever import Retriever

QUERY = [Categorical(name="query_id"), CategoricalList(name="tags"), History(name="history", of="candidate_id")]
CANDIDATE = [Categorical(name="candidate_id"), HashedWords(name="text", num_buckets=500)]
VECTOR = Vector(name="vector")
NEW = "c9999"


def tables(cold: int = 0) -> dict[str, Any]:
    """Synthetic tables in which the last ``cold`` candidates have no training positive."""
    raw = Synthetic(num_queries=150, num_candidates=100, likes=10).tables()
    assert raw.candidates is not None
    late = raw.candidates["candidate_id"].tail(cold).to_list()
    fold = pl.when(pl.col("candidate_id").is_in(late)).then(pl.lit("test")).otherwise(pl.lit("train"))
    return {
        "interactions": raw.interactions.with_columns(fold=fold),
        "queries": raw.queries,
        "candidates": raw.candidates,
    }


def world(
    folder: Path, query: list[Feature], candidate: list[Feature] = CANDIDATE, **frames: Any
) -> RetrievalDataModule:
    return RetrievalDataModule(
        source=Frames(**frames),
        query=query,
        candidate=candidate,
        split=PublishedFold("fold"),
        batch_size=100,
        cache_dir=str(folder),
    )


def tower(**encoders: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Sum", "encoders": encoders}}


def model(id_dropout: float) -> TwoTower:
    by_id = {"class_path": "Embedding", "init_args": {"output_dim": 16, "id_dropout": id_dropout}}
    bag = {"class_path": "EmbeddingBag", "init_args": {"output_dim": 16}}
    return small_model(
        query_tower=tower(query_id=by_id, tags=bag, history=bag),
        candidate_tower=tower(candidate_id=by_id, text=bag),
        scorer=SCORER,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[TwoTower, RetrievalDataModule, Retriever]:
    folder = tmp_path_factory.mktemp("cold")
    data, trained = world(folder, QUERY, **tables(cold=20)), model(0.3)
    small_trainer(folder, max_epochs=2, limit_val_batches=0).fit(trained, datamodule=data)
    trained.eval()
    return trained, data, make_retriever(trained, data)


def test_an_unknown_query_is_ranked_as_an_evaluation_would(
    served: tuple[TwoTower, RetrievalDataModule, Retriever],
) -> None:
    trained, data, retriever = served
    [batch] = data.test_dataloader()
    features = {**batch.query, "query_id": torch.zeros_like(batch.query["query_id"])}  # type: ignore[arg-type]  # ids
    with torch.inference_mode():
        scores = trained.scorer(trained.encode_query(features), torch.from_numpy(retriever.corpus.embeddings))
    likes, ids = data.assembler.likes.candidates, data.candidates["candidate_id"]
    for place in (0, 7):
        row = int(batch.query_row[place])
        liked = ids.gather(likes.values[likes.offsets[row] : likes.offsets[row + 1]].numpy()).to_list()
        raw = {"query_id": "nobody", "history": liked, "tags": data.data.queries["tags"][row].to_list()}
        expected = scores[place].sort(descending=True)
        hits = retriever.search(raw, k=100)
        torch.testing.assert_close(torch.tensor([hit.score for hit in hits]), expected.values, rtol=1e-5, atol=1e-5)
        del raw["query_id"]  # an omitted id is unknown
        assert [hit.score for hit in retriever.search(raw, k=100)] == [hit.score for hit in hits]
        masked = [hit.id for hit in hits if hit.id not in liked]
        assert [hit.id for hit in retriever.search(raw, k=50, exclude_history=True)] == masked[:50]
        with pytest.raises(ValueError, match=f"k is 100.*100 candidates, {len(liked)} .*history"):
            retriever.search(raw, k=100, exclude_history=True)


def test_an_unknown_candidate_is_embedded_by_its_attributes(
    tmp_path: Path, served: tuple[TwoTower, RetrievalDataModule, Retriever]
) -> None:
    """Alone, and as a new row of the corpus table, it equals a candidate without training positives."""
    trained, data, retriever = served
    text = data.candidates["text"][99]  # one of the last, whose id training never liked either
    alone = retriever.encode_candidate([{"candidate_id": NEW, "text": text}])
    np.testing.assert_allclose(alone[0], retriever.corpus.embeddings[99], rtol=1e-5, atol=1e-6)
    frames = tables(cold=20)
    row = frames["candidates"].tail(1).with_columns(candidate_id=pl.lit(NEW))
    grown = world(tmp_path, QUERY, **{**frames, "candidates": pl.concat([frames["candidates"], row])})
    grown.encode_with(trained.schemas)
    larger = make_retriever(trained, grown)
    assert larger.corpus.embeddings.shape == (101, 16)
    np.testing.assert_allclose(larger.corpus.embeddings[100], alone[0], rtol=1e-5, atol=1e-6)
    scores = {hit.id: hit.score for hit in larger.search({"tags": data.data.queries["tags"][0].to_list()}, k=101)}
    assert scores[NEW] == pytest.approx(scores[data.candidates["candidate_id"][99]], abs=1e-5)


def test_id_dropout_teaches_to_rank_by_attributes(tmp_path: Path) -> None:
    """Seven of a topic's ten candidates have no training positive; a noisy vector reveals their topic."""
    linear = {"class_path": "Linear", "init_args": {"output_dim": 16}}
    found: dict[float, float] = {}
    for id_dropout in (0.0, 0.5):
        torch.manual_seed(0)
        ids = {"class_path": "Embedding", "init_args": {"output_dim": 16, "id_dropout": id_dropout}}
        data = world(tmp_path, [QUERY[0], VECTOR], [CANDIDATE[0], VECTOR], **tables(cold=70))
        towers = tower(query_id=ids, vector=linear), tower(candidate_id=ids, vector=linear)
        trained = small_model(query_tower=towers[0], candidate_tower=towers[1])
        trainer = small_trainer(tmp_path, max_epochs=20, limit_val_batches=0)
        trainer.fit(trained, datamodule=data)
        [metrics] = trainer.test(trained, datamodule=data, verbose=False)
        found[id_dropout] = metrics["test/recall@10"]
    assert found[0.5] > 0.94
    assert found[0.5] > found[0.0] + 0.04


def test_score_and_search_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With unknown ids on both sides."""
    monkeypatch.chdir(tmp_path)
    both = {
        side: [
            {"class_path": "Categorical", "init_args": {"name": f"{side}_id"}},
            {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}},
        ]
        for side in ("query", "candidate")
    }
    both["query"].append({"class_path": "History", "init_args": {"name": "history", "of": "candidate_id"}})
    main(["fit", "--config", str(write_config(tmp_path / "cold.yaml", data=both, trainer={"max_epochs": 1}))])
    asked = {"query_id": "nobody", "text": "bada", "history": ["c1", "c2", "c3"]}
    [hits] = main(["search", "--query", json.dumps(asked), "--k", "57", "--exclude_history"])
    assert not {hit.id for hit in hits} & set(asked["history"])
    [others] = main(["search", "--query", json.dumps({**asked, "query_id": None}), "--k", "60"])
    assert [hit for hit in others if hit.id not in asked["history"]] == hits
    document = {"candidate_id": NEW, "text": "bada"}
    given = {
        "query": asked,
        "positive_doc": document,
        "negative_docs": [{"text": "bada"}, {"candidate_id": "c1", "text": "bada"}],
    }
    Path("in.json").write_text(json.dumps(given), encoding="utf-8")
    scored = main(["score", "--input", "in.json"])
    assert scored["positive_doc"]["vector"] == scored["negative_docs"][0]["vector"]
    assert scored["positive_doc"]["vector"] != scored["negative_docs"][1]["vector"]
