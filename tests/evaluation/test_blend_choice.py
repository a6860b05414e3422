"""The blend that validation chooses: in a fit, its file, and every place that uses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small import small_data, small_model, write_config

from dssm_lightning.api import load_retriever, load_run, make_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.evaluation import blend_choice
from dssm_lightning.evaluation.blend_choice import CONVEX, RANK_WEIGHTS, WEIGHTS, _is_ahead, choose_blend
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.features import Categorical
from dssm_lightning.retrieval.blend import Blend, chosen_blend
from dssm_lightning.retrieval.bundle.manifest import read_manifest
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.retriever import Retriever


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("blend")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml"))])
        main(["test", "--hybrid"])
        main(["export", "--output", "bundle"])
    return place


def run_of(place: Path) -> Path:
    return place / "runs/texts/version_0"


def test_fit_writes_the_best_of_the_grid(place: Path) -> None:
    values = json.loads((run_of(place) / "hybrid.json").read_text(encoding="utf-8"))
    model, data = load_run(run_of(place) / "checkpoints/best.ckpt")
    choice = choose_blend(model, data)
    assert choice is not None
    assert Blend(values["form"], values["weight"]) == choice.blend == chosen_blend(run_of(place))
    assert values["value"] == pytest.approx(choice.value)
    assert values["value"] >= max(values["model"], values["bm25"])
    assert values["queries"] > 20
    assert values["metric"] == "ndcg@10"


def test_no_other_blend_is_better_on_validation_rows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the evaluation that ``test`` uses, on the validation rows: ndcg@10 of each blend of a smaller grid."""
    monkeypatch.setattr(blend_choice, "_is_ahead", lambda differences: True)
    model, data = load_run(run_of(place) / "checkpoints/best.ckpt")
    choice = choose_blend(model, data)
    assert choice is not None
    texts = corpus_texts(data.data)
    corpus = model.embed_corpus(data.corpus_batches(), len(data.candidates))

    def ndcg(blend: Blend) -> float:
        hybrid, evaluation = Hybrid(texts, ["text"], blend), Evaluation([10], labelled=False)
        for batch in data.evaluation_batches(VALIDATION):
            scores = model.score(batch.query, corpus).detach().numpy()
            asked = data.data.queries["text"][batch.query_row.numpy()].to_list()
            evaluation.update(torch.from_numpy(hybrid.fuse(scores, asked)), batch)
        return evaluation.compute()["ndcg@10"]

    assert ndcg(choice.blend) == pytest.approx(choice.value, abs=1e-6)
    assert choice.blend.weight > 0
    grid = [Blend(form, weight) for form in CONVEX for weight in WEIGHTS[::4]]
    assert max(ndcg(blend) for blend in [*grid, Blend("ranks", RANK_WEIGHTS[0])]) <= choice.value + 1e-6


def test_chance_does_not_choose_a_blend() -> None:
    ahead = torch.tensor([0.1, 0.2, float("nan"), 0.3])
    assert _is_ahead(ahead)
    assert not _is_ahead(-ahead)
    assert not _is_ahead(torch.tensor([0.5, -0.4, 0.3, -0.35]))
    assert not _is_ahead(torch.tensor([0.5]))
    assert not _is_ahead(torch.zeros(5))


def test_test_search_and_bundle_use_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    blend = chosen_blend(run_of(place))
    assert read_manifest(place / "bundle").blend == blend
    data = load_run(run_of(place) / "checkpoints/best.ckpt")[1]
    text = data.data.queries["text"][3]
    own, bundled = load_retriever(run_of(place) / "checkpoints/best.ckpt"), Retriever.load(place / "bundle")
    [found] = main(["search", "--query", text, "--hybrid", "--k", "20"])
    [of_bundle] = main(["search", "--query", text, "--hybrid", "--k", "20", "--bundle", "bundle"])
    hits = [own.search(text, 20, hybrid=True), bundled.search(text, 20, hybrid=True), of_bundle]
    for other in hits:
        np.testing.assert_allclose([hit.score for hit in other], [hit.score for hit in found], atol=1e-5)
    ranks = own.search(text, 20, hybrid=1.0)
    assert [hit.score for hit in ranks] != [hit.score for hit in found]
    assert own.search(text, 20, hybrid=False) == own.search(text, 20)
    metrics = json.loads((run_of(place) / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test/hybrid/mrr"] > 0


def test_a_retriever_without_a_choice_fuses_ranks(place: Path) -> None:
    model, data = load_run(run_of(place) / "checkpoints/best.ckpt")
    retriever = make_retriever(model, data)
    text = data.data.queries["text"][3]
    assert retriever.search(text, hybrid=True) == retriever.search(text, hybrid=1.0)
    assert HybridTest().weight == 1.0


def test_nothing_is_chosen_without_rows_or_texts(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {
        "no validation rows": {"split": PerQuery(test=0.2, validation=0.0)},
        "no text of queries": {"query": [Categorical(name="query_id")]},
        "no text of candidates": {"candidate": [Categorical(name="candidate_id")]},
    }
    for name, changes in cases.items():
        data = small_data(tmp_path / name, **changes)
        data.prepare_data()
        model = small_model()
        model.build(data.schemas)
        assert choose_blend(model.eval(), data) is None, name
