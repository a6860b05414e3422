"""Raw values in, ids, scores and display columns out."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from dssm_lightning.features import Categorical, Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.scorers import Dot, MultiHeadDot, Scorer
from dssm_lightning.retrieval.retriever import RawValues, Retriever
from dssm_lightning.utils.ragged import Features

CORPUS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
TABLE = pl.DataFrame({"id": ["a", "b", "c", "d"], "name": ["ant", "bee", "cow", "dog"], "size": [1, 2, 3, 4]})
SCHEMAS = Schemas(
    Schema((Vector(name="direction", length=2),)),
    Schema((Vector(name="direction", length=2), Categorical(name="kind", vocabulary=("x",)))),
)


def direction(features: Features) -> Tensor:
    found = features["direction"]
    assert isinstance(found, Tensor)
    return found


def retriever(display: list[str] | None = None, scorer: Scorer | None = None, schemas: Schemas = SCHEMAS) -> Retriever:
    shown = ["name"] if display is None else display
    return Retriever(schemas, direction, direction, scorer or Dot(2.0), CORPUS, TABLE, shown)


def test_the_best_come_first() -> None:
    hits = retriever().search({"direction": [0.0, 1.0]}, k=3)
    assert [(hit.id, hit.display) for hit in hits] == [
        ("b", {"name": "bee"}),
        ("c", {"name": "cow"}),
        ("a", {"name": "ant"}),
    ]
    assert [hit.score for hit in hits] == pytest.approx([2.0, 1.6, 0.0])


def test_many_queries_have_the_hits_of_each_alone() -> None:
    class Distance(Scorer):
        def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
            return -torch.cdist(query, candidate)

    queries: list[RawValues] = [{"direction": [0.0, 1.0]}, {"direction": [-1.0, 0.3]}]
    for scorer in (Dot(2.0), Distance(), MultiHeadDot(2, "max")):
        searcher = retriever(scorer=scorer)
        for one, all_at_once in zip(queries, searcher.search_all(queries, k=3), strict=True):
            alone = searcher.search(one, k=3)
            assert [(hit.id, hit.display) for hit in all_at_once] == [(hit.id, hit.display) for hit in alone]
            assert [hit.score for hit in all_at_once] == pytest.approx([hit.score for hit in alone])
    assert retriever().search_all([], k=3) == []
    with pytest.raises(ValueError, match=r"k is 5.*4 candidates"):
        retriever().search_all(queries, k=5)


def test_display_columns_are_shown() -> None:
    assert retriever([]).search({"direction": [1.0, 0.0]}, k=1)[0].display == {}
    assert retriever(["size", "name"]).search({"direction": [1.0, 0.0]}, k=1)[0].display == {"size": 1, "name": "ant"}


def test_similarity_is_the_inner_product_if_an_index_can_serve() -> None:
    class Distance(Scorer):
        def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
            return -torch.cdist(query, candidate)

    query = torch.tensor([[0.0, 1.0]])
    assert torch.equal(retriever().similarity(query, CORPUS), query @ CORPUS.T)  # unscaled
    assert torch.equal(retriever(scorer=Distance()).similarity(query, CORPUS), -torch.cdist(query, CORPUS))


def test_many_values_at_once_and_missing_columns() -> None:
    found = retriever().embed("candidate", [{"direction": [1.0, 2.0], "kind": "x"}, {"direction": [3.0, 4.0]}])
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ({"direction": [1.0, 0.0]}, 5, "k is 5.*4 candidates"),
        ({"direction": [1.0, 0.0]}, 0, "k is 0.*4 candidates"),
        (
            {"diretcion": [1.0, 0.0]},
            1,
            r"query column 'diretcion'.*\['direction'\].*did you mean 'direction'",
        ),
        ({}, 1, r"query \{\}.*\['direction'\]"),
        ({"direction": [1.0, 0.0, 0.0]}, 1, "direction"),
    ],
)
def test_bad_queries(query: dict[str, Any], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retriever().search(query, k)


def test_a_bare_text_needs_one_column() -> None:
    with pytest.raises(ValueError, match=r"candidate 'x'.*\['direction', 'kind'\]"):
        retriever().embed("candidate", ["x"])


def test_a_history_that_names_no_candidates_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"exclude_history.*'id'.*\['direction'\]"):
        retriever().search({"direction": [1.0, 0.0]}, k=1, exclude_history=True)
