"""Bundles and retrievers of a model whose embeddings are cut: they rank as the module does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bundles import FACTS, export, same_answers
from helpers.retrievers import WORDS, shop
from helpers.small import write_config

from dssm_lightning.api import load_retriever, make_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.export import export_bundle
from dssm_lightning.features import Categorical, HashedWords, History
from dssm_lightning.retrieval.bundle.manifest import read_manifest
from dssm_lightning.retrieval.retriever import Retriever

QUERIES = [{"words": f"{WORDS[n % 15]} {WORDS[(n * n + 1) % 15]}"} for n in range(8)]
TITLE = HashedWords(name="text", num_buckets=300)


def tower(**settings: Any) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, **settings}}


def shaped(scorer: dict[str, Any], **settings: Any) -> dict[str, Any]:
    towers = {side: tower(**settings) for side in ("query_tower", "candidate_tower")}
    return {"model": {**towers, "scorer": scorer}}


DOT = {"class_path": "Dot", "init_args": {"logit_scale": 10}}
MAX = {"class_path": "MultiHeadDot", "init_args": {"num_heads": 4, "reduce": "max"}}
SHAPES = {
    "dot": shaped(DOT),
    "bias": shaped(DOT, bias=True),
    "not normalised": shaped(DOT, normalize=False),
    "heads": shaped(MAX, num_heads=4),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_bundle_ranks_as_the_cut_module_does(tmp_path: Path, shape: dict[str, Any]) -> None:
    model, data = shop(tmp_path / "cache", **shape)
    whole = make_retriever(model, data)
    before = [[hit.id for hit in hits] for hits in whole.search(QUERIES, k=10)]
    model.truncate(4)
    wanted = make_retriever(model, data)
    batches = data.corpus_batches()
    with torch.inference_mode():
        corpus = model.embed_corpus(batches, len(batches.numbers))
    extra = 2 if "bias" in str(shape) else 0
    assert corpus.shape == (30, 4 + extra)
    query = torch.from_numpy(wanted.encode_query(QUERIES))
    scores = model.scorer(query, corpus)
    for own, hits in zip(scores, wanted.search(QUERIES, k=10), strict=True):
        expected = own.sort(descending=True).values[:10]
        np.testing.assert_allclose([hit.score for hit in hits], expected.detach(), rtol=1e-4, atol=1e-5)
    found = Retriever.load(export(model, data, tmp_path / "bundle"))
    same_answers(found, wanted, QUERIES)
    assert [[hit.id for hit in hits] for hits in found.search(QUERIES, k=10)] != before
    with pytest.raises(ValueError, match=r"truncate_dim is 4, and the retriever's embeddings are \d+ wide"):
        export_bundle(model, data, whole, tmp_path / "other", FACTS)
    assert read_manifest(tmp_path / "bundle").source["truncate_dim"] == "4"
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "test --model.truncate_dim 4" in card  # it was not tested
    assert "Quality by width" not in card
    heads = found.corpus.indexes
    assert [index.width for index in heads] == ([1] * 4 if len(heads) == 4 else [4 + extra])


def test_a_history_of_whole_candidates_needs_whole_embeddings(tmp_path: Path) -> None:
    encoders = {"history": {"class_path": "EmbeddingBag", "init_args": {"output_dim": 16}}}
    model, _ = shop(
        tmp_path / "cache",
        query=[History(name="history", of="candidate")],
        candidate=[Categorical(name="item"), TITLE],
        model={"query_tower": tower(encoders=encoders), "candidate_tower": tower(), "scorer": DOT},
    )
    with pytest.raises(ValueError, match="export: truncate_dim is 4, and query feature 'history'"):
        model.truncate(4, "export")


def test_facts_of_a_cut_model_are_those_of_its_width() -> None:
    metrics = {"test/mrr": 0.5, "test/width_8/mrr": 0.4, "test/width_4/mrr": 0.3, "test/width_4/ndcg@10": 0.2}
    facts = FACTS._replace(metrics=metrics, intervals={"test/mrr": (0.4, 0.6)})
    cut = facts.at_width(8)
    assert cut.metrics == {"test/mrr": 0.4, "test/width_4/mrr": 0.3, "test/width_4/ndcg@10": 0.2}
    assert cut.intervals == {}
    assert facts.at_width(2).metrics == {}


@pytest.mark.slow
def test_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    loss = {"class_path": "Matryoshka", "init_args": {"loss": "SampledSoftmax", "dims": [4, 8, 16]}}
    config = str(write_config(tmp_path / "texts.yaml", model={"loss": loss}, trainer={"max_epochs": 1}))
    main(["fit", "--config", config, "--baselines", "false"])
    main(["test", "--config", config, "--model.truncate_dim", "2", "--baselines", "false"])
    main(["export", "--output", "whole"])
    main(["export", "--output", "cut", "--truncate_dim", "4"])
    whole, cut = (json.loads(Path(name, "metrics.json").read_text())["metrics"] for name in ("whole", "cut"))
    assert {name.split("/")[1] for name in whole if "width" in name} == {"width_2", "width_4", "width_8"}
    assert cut["test/ndcg@10"] == whole["test/width_4/ndcg@10"] != whole["test/ndcg@10"]
    assert {name.split("/")[1] for name in cut if "width" in name} == {"width_2"}
    card = Path("whole", "README.md").read_text()
    rows = [line.split(" | ")[0] for line in card.partition("## Quality by width")[2].splitlines()]
    assert [row for row in rows if row in ("| 2", "| 4", "| 8", "| this bundle")] == [
        "| 2",
        "| 4",
        "| 8",
        "| this bundle",
    ]
    checkpoint = next(Path().rglob("best.ckpt"))
    same_answers(Retriever.load("cut"), load_retriever(checkpoint, truncate_dim=4), [{"text": "w1 w2"}, {"text": "w3"}])
    with pytest.raises(ValueError, match="load_retriever: truncate_dim is 17"):
        load_retriever(checkpoint, truncate_dim=17)
    with pytest.raises(ValueError, match="export: truncate_dim is 0"):
        main(["export", "--output", "none", "--truncate_dim", "0"])
    assert not Path("none").exists()
