"""Codes that training does not see are in a bundle, in whichever mode the model is when it is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bundles import export
from helpers.retrievers import shop

from dssm_lightning.api import make_retriever
from dssm_lightning.features import Categorical, History
from dssm_lightning.retrieval.retriever import Retriever

ITEMS = [f"i{n}" for n in range(30)]


def tower(name: str, encoder: str, codes: str, **settings: Any) -> dict[str, Any]:
    unseen = {"class_path": "Codes", "init_args": {"output_dim": 64, "while_training": False, **settings}}
    sums = {"pooling": "sum"} if encoder == "EmbeddingBag" else {}
    own = {"class_path": encoder, "init_args": {"output_dim": 8, "normalize": True, **sums}}
    encoders = {name: own, codes: unseen}
    arguments = {"fusion": "Concat", "normalize": False, "encoders": encoders, "bypass": [codes]}
    return {"class_path": "Tower", "init_args": arguments}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "after a fit"])
def test_a_bundle_adds_them(tmp_path: Path, training: bool) -> None:
    towers = {
        "query_tower": tower("history", "EmbeddingBag", "liked", weight=50.0),
        "candidate_tower": tower("item", "Embedding", "code"),
        "tied_embeddings": {"history": "item"},
        "scorer": "Dot",
    }
    model, data = shop(
        tmp_path / "cache",
        query=[History(name="history", of="item"), History(name="liked", of="item")],
        candidate=[Categorical(name="item"), Categorical(name="code", column="item")],
        model=towers,
    )
    model.train(training)
    query = [{"history": ["i3", "i7"], "liked": ["i3", "i7"]}]
    wanted, bundle = make_retriever(model, data), Retriever.load(export(model, data, tmp_path / "bundle"))
    assert model.training == training
    answers = [{hit.id: hit.score for hit in retriever.search(query, k=30)[0]} for retriever in (wanted, bundle)]
    with torch.no_grad():
        table = model.candidate_tower.encoders["item"].table.weight[data.data.candidate["item"]]
        vectors = table / table.norm(dim=1, keepdim=True).clamp(min=1e-9)  # zeros for candidates without a like
        expected = (vectors @ (vectors[3] + vectors[7])).numpy()
    expected[[3, 7]] += 50.0  # codes of equal numbers of ids are the same, and orthogonal where D ≥ V
    for found in answers:
        np.testing.assert_allclose([found[name] for name in ITEMS], expected, rtol=1e-4, atol=1e-4)
