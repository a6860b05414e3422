"""Reciprocal rank fusion: against numbers by hand and a loop, in ``search`` and in ``test``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer, write_config
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.api import load_run
from dssm_lightning.cli.main import main
from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.features import Categorical, HashedWords, LikedBy, Tokens
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.blend import reciprocal_ranks
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.utils.errors import UserError

PAGES = ["red cat", "blue dog", "red red dog", "bird"]


def test_ranks_by_hand() -> None:
    """Equal scores share the first of their ranks; a candidate outside a list gets nothing from it."""
    found = reciprocal_ranks(np.array([[3.0, 5.0, 3.0, -np.inf, 1.0]], np.float32))
    assert found.tolist() == [[1 / 62, 1 / 61, 1 / 62, 0.0, 1 / 64]]
    assert found.dtype == np.float64


def test_ranks_by_a_loop() -> None:
    scores = np.random.default_rng(2).integers(0, 9, (7, 20)).astype(np.float32)
    found = reciprocal_ranks(scores)
    for row, values in zip(scores.tolist(), found.tolist(), strict=True):
        assert values == [1 / (61 + sum(other > own for other in row)) for own in row]


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_fusion_by_hand(weight: float) -> None:
    """BM25 of "red dog" ranks the page with all words first and omits "bird"; the model ranks in the opposite order."""
    hybrid = Hybrid(PAGES, ["asks"], weight)
    words = hybrid.index.scores(["red dog"])[0]
    assert words.argmax() == 2
    assert words[0] > words[3] == 0
    fused = hybrid.fuse(np.array([[1.0, 2.0, 3.0, 4.0]]), hybrid.texts_of([{"asks": "red dog"}]))[0].tolist()
    rank = [1 + int((words > words[page]).sum()) for page in range(3)]
    expected = [1 / (60 + 4 - page) + (weight / (60 + rank[page]) if page < 3 else 0.0) for page in range(4)]
    assert fused == pytest.approx(expected, abs=1e-15)


def test_an_excluded_candidate_is_in_no_list() -> None:
    """A score of −∞: the others are ranked as if the candidate were not there."""
    hybrid, texts = Hybrid(PAGES, ["asks"]), ["red dog", "bird"]
    scores = np.array([[1.0, -np.inf, 3.0, 2.0], [1.0, -np.inf, 3.0, 1.0]], np.float32)
    fused = hybrid.fuse(scores, texts)
    left = np.array([0, 2, 3])
    assert fused[:, 1].tolist() == [0, 0]
    assert np.array_equal(fused[:, left], hybrid.fuse(scores[:, left], texts, left))
    assert fused[0, 2] == 1 / 61 + 1 / 61


def test_a_saved_index_takes_the_place_of_the_texts(tmp_path: Path) -> None:
    hybrid = Hybrid(PAGES, ["asks"], 0.3)
    hybrid.index.save(tmp_path / "terms")
    scores = np.array([[4.0, 1.0, 3.0, 2.0]], np.float32)
    again = Hybrid(BM25.load(tmp_path / "terms"), ["asks"], 0.3)
    assert np.array_equal(again.fuse(scores, ["red dog"]), hybrid.fuse(scores, ["red dog"]))


def test_an_index_of_another_corpus_is_refused() -> None:
    with pytest.raises(UserError, match=r"hybrid.*\(1, 3\).*\(1, 4\).*corpus"):
        Hybrid(PAGES, ["asks"]).fuse(np.zeros((1, 3), np.float32), ["red"])


def test_texts_of_raw_queries() -> None:
    hybrid = Hybrid(PAGES, ["title", "tags"])
    records = [{"title": "a", "tags": ["b", None, "c"]}, {"tags": None, "title": "d", "year": 7}, {}]
    assert hybrid.texts_of(records) == ["a b c", "d", ""]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hybrid")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml"))])
        main(["test", "--hybrid", "--hybrid_weight", "0.5", "--trec", "trec"])
    return place


def test_test_measures_both(place: Path) -> None:
    run = place / "runs/texts/version_0"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    rows = pl.read_parquet(run / "per_query.hybrid.parquet")
    assert rows["query_id"].equals(pl.read_parquet(run / "per_query.parquet")["query_id"])
    for name in ("mrr", "hit_rate@10", "seen_kept/ndcg@10"):
        assert metrics[f"test/hybrid/{name}"] == pytest.approx(rows[name].mean(), abs=1e-6)
    assert metrics["test/hybrid/mrr"] != metrics["test/mrr"]
    assert (place / "trec" / "run.trec").is_file()


def test_search_ranks_as_test_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates of the same words nearly tie: their model scores are 1e-6 apart, in an order that rounding decides."""
    monkeypatch.chdir(place)
    model, data = load_run(place / "runs/texts/version_0/checkpoints/best.ckpt")
    hybrid = Hybrid(corpus_texts(data.data), data.schemas.query.text_columns, 0.5)
    texts = Synthetic(num_queries=100, num_candidates=60).tables()
    assert texts.queries is not None
    text = texts.queries["text"][3]
    [hits] = main(["search", "--query", text, "--hybrid", "--hybrid_weight", "0.5", "--k", "60"])
    [plain] = main(["search", "--query", text, "--k", "60"])
    with torch.no_grad():
        scores = model(data.schemas.query.encode(pl.DataFrame({"text": [text]})), next(iter(data.corpus_batches())))
    own = scores.numpy()[0]
    words = hybrid.fuse(scores.numpy(), [text])[0] - reciprocal_ranks(scores.numpy())[0]
    found = {hit.id: hit.score for hit in hits}
    for row, candidate in enumerate(data.candidates.to_series(0)):
        best = 1 / (61 + (own > own[row] + 1e-4).sum()) + words[row]
        worst = 1 / (60 + (own >= own[row] - 1e-4).sum()) + words[row]
        assert worst - 1e-9 <= found[candidate] <= best + 1e-9
    assert [hit.id for hit in hits] != [hit.id for hit in plain]


def test_a_side_without_a_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"hybrid.*no query feature"):
        Hybrid(["a text"], [])
    with pytest.raises(UserError, match=r"hybrid.*no candidate feature"):
        Hybrid(None, ["text"])
    with pytest.raises(UserError, match=r"hybrid.*no candidate feature"):
        Hybrid(BM25(), ["text"])


def test_tokens_are_texts() -> None:
    assert Schema((Tokens(name="says"), HashedWords(name="w", column="says"))).text_columns == ["says"]


def test_training_queries_are_searched_if_the_model_reads_them(tmp_path: Path) -> None:
    """With ``LikedBy``, the model reads the training queries of a candidate; BM25 and TF-IDF then read them too."""
    liked = [HashedWords(name="text", num_buckets=300), LikedBy(name="asked", of="text")]
    data = small_data(tmp_path, candidate=liked).data
    interactions, texts = data.interactions, data.queries["text"].to_list()
    expected = data.candidates["text"].to_list()
    for row in interactions.rows(TRAIN).tolist():
        expected[int(interactions.candidate[row])] += " " + texts[int(interactions.query[row])]
    assert corpus_texts(data) == expected
    own = small_data(tmp_path).data
    assert corpus_texts(own) == own.candidates["text"].to_list()
    alone = small_data(tmp_path, candidate=[Categorical(name="candidate_id"), LikedBy(name="asked", of="text")]).data
    asked = corpus_texts(alone)
    assert asked is not None
    assert [text.split() for text in asked] == [
        text.removeprefix(first).split() for text, first in zip(expected, data.candidates["text"], strict=True)
    ]


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan"), True, "1"])
def test_a_wrong_weight_is_refused(weight: Any) -> None:
    with pytest.raises(UserError, match=f"hybrid: weight is {weight!r}"):
        Hybrid(["a"], ["text"], weight)


def test_a_missing_text_is_refused_before_anything_is_ranked(tmp_path: Path) -> None:
    data = small_data(tmp_path, query=[Categorical(name="query_id")])
    with pytest.raises(ValueError, match=r"hybrid.*no query feature"):
        small_trainer(tmp_path, callbacks=[HybridTest()]).test(small_model(), datamodule=data, verbose=False)


def test_a_text_of_each_event_is_refused_before_anything_is_ranked(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    trainer = small_trainer(tmp_path, callbacks=[_WithoutTexts(), HybridTest()])
    with pytest.raises(UserError, match=r"hybrid.*'text' belongs to interactions.*query_id"):
        trainer.test(small_model(), datamodule=data, verbose=False)


class _WithoutTexts(Callback):
    """Take the texts out of the table of queries, as if each event had one of its own."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assembler = datamodule_of(trainer).assembler
        assembler.data = assembler.data._replace(queries=assembler.data.queries.drop("text"))


def test_only_test_has_the_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(write_config(tmp_path / "texts.yaml")), "--hybrid"])
    assert "hybrid" in capsys.readouterr().err
