"""Filters, texts and missing values in a search of a retriever, made of a model or of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.retrievers import Distance, given_retriever, shop_retriever, shop_table

from dssm_lightning.features import Categorical, Feature, HashedWords, Numeric
from dssm_lightning.models.scorers import Dot, MultiHeadDot
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError


@pytest.fixture(scope="module", params=["of a model", "of a bundle"])
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    if request.param == "of a model":
        return shop_retriever(tmp_path_factory.mktemp("shop"))
    return Retriever.load(request.getfixturevalue("shop_bundle"))


KEPT = {
    "price > 10": lambda row: row["price"] is not None and row["price"] > 10,
    "price != 10": lambda row: row["price"] != 10,
    "price = null": lambda row: row["price"] is None,
    "tags = 'new'": lambda row: "new" in row["tags"],
    "tags = null": lambda row: not row["tags"],
    "made < '2014-01-01'": lambda row: row["made"] is not None and row["made"].year < 2014,
    "sold and not tags = 'red'": lambda row: row["sold"] and "red" not in row["tags"],
    "item in ('i3', 'i4')": lambda row: row["item"] in ("i3", "i4"),
    "text = 'nothing'": lambda row: False,
}


@pytest.mark.parametrize("condition", KEPT)
@pytest.mark.parametrize("hybrid", [None, 1.0])
def test_a_filter_keeps_the_order_of_the_candidates_that_fit(
    condition: str, hybrid: float | None, retriever: Retriever
) -> None:
    rows = {row["item"]: row for row in shop_table().to_dicts()}
    queries: Any = ["list files", "open group"]
    everything = retriever.search(queries, k=30, hybrid=hybrid)
    found = retriever.search(queries, k=30, filter=condition, hybrid=hybrid)
    fewer = retriever.search(queries, k=2, filter=condition, hybrid=hybrid, exclude=["i3"])
    for all_hits, hits, few in zip(everything, found, fewer, strict=True):
        wanted = [hit for hit in all_hits if KEPT[condition](rows[hit.id])]
        assert [hit.id for hit in hits] == [hit.id for hit in wanted]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in wanted], abs=1e-6)
        assert [hit.id for hit in few] == [hit.id for hit in wanted if hit.id != "i3"][:2]


@pytest.mark.parametrize("scorer", [Dot(2.0), Distance(), MultiHeadDot(2, "max")])
def test_a_filter_with_every_kind_of_scorer(scorer: Any) -> None:
    searcher = given_retriever(scorer=scorer)
    order = [hit.id for hit in searcher.search({"direction": [0.2, 1.0]}, k=4)]
    hits = searcher.search({"direction": [0.2, 1.0]}, k=4, filter="size in (1, 3)")
    assert [hit.id for hit in hits] == [each for each in order if each in "ac"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("prise > 3", "no column 'prise'.*did you mean 'price'"),
        ("price > 'x'", "'price' holds numbers"),
        ("made > 3", "'made' holds times"),
        ("made > 'soon'", "'made' holds times; 'soon'"),
        ("price >", "filter, character"),
        ("", "filter"),
        ("item = 'x'); import os; ('", "filter, character 12: ';'"),
        ("__class__ = 1", "no column '__class__'"),
        (3, "filter"),
        (" or ".join(["sold"] * 100_000), "filter.*10,000 "),
    ],
)
def test_filters_that_are_refused(condition: Any, message: str, retriever: Retriever) -> None:
    searches: list[Any] = [
        lambda: retriever.search("list", k=1, filter=condition),
        lambda: retriever.similar("i1", k=1, filter=condition),
        lambda: retriever.search_vectors(np.zeros((1, 16)), k=1, filter=condition),
    ]
    for search in searches:
        with pytest.raises(UserError, match=message) as error:
            search()
        assert len(str(error.value)) < 500


# -- texts -------------------------------------------------------------------------------------------------------------


def test_a_hybrid_finds_a_rare_word(retriever: Retriever) -> None:
    retriever.add([{"item": "odd", "text": "xylophone"}])
    try:
        assert retriever.search("xylophone", k=1, hybrid=5.0)[0].id == "odd"
        alone = retriever.search("xylophone", k=31)
        fused = retriever.search("xylophone", k=31, hybrid=0)
        assert [hit.display for hit in fused] == [hit.display for hit in alone]  # equal texts are in any order
    finally:
        retriever.remove(["odd"])


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "1"])
def test_weights_of_a_hybrid_that_are_refused(weight: Any, retriever: Retriever) -> None:
    with pytest.raises(UserError, match="hybrid: weight is"):
        retriever.search("list", k=1, hybrid=weight)


def test_a_hybrid_without_texts(tmp_path: Path) -> None:
    candidate: list[Feature] = [Categorical(name="item")]
    with pytest.raises(UserError, match="no candidate feature reads a text"):
        shop_retriever(tmp_path / "a", candidate=candidate).search("list", k=1, hybrid=1.0)
    query: list[Feature] = [Categorical(name="search")]
    with pytest.raises(UserError, match="no query feature reads a text"):
        shop_retriever(tmp_path / "b", query=query).search({"search": "q1"}, k=1, hybrid=1.0)


def test_scores_of_many_candidates_are_computed_in_parts(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: Any = ["list files", "open group", "show disk", "time user"]
    whole = retriever.search(queries, k=5, hybrid=1.0)
    monkeypatch.setattr("dssm_lightning.retrieval.searching.SCORES", 61)  # two queries of 30 candidates at a time
    parts = retriever.search(queries, k=5, hybrid=1.0)
    # each text is that of two candidates; which of the two is first depends on how the products of a shape are rounded
    assert [[hit.display for hit in hits] for hits in parts] == [[hit.display for hit in hits] for hits in whole]
    for found, wanted in zip(parts, whole, strict=True):
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=3e-4)  # one rank
    many = given_retriever(scorer=Distance())
    directions: Any = [{"direction": [n, 1.0]} for n in range(5)]
    assert many.search(directions, k=2) == [many.search(each, k=2) for each in directions]


# -- values of a query -------------------------------------------------------------------------------------------------


def test_unknown_values_are_served_and_needed_ones_are_listed(tmp_path: Path) -> None:
    query: list[Feature] = [
        Categorical(name="search"),
        HashedWords(name="words", num_buckets=300, on_empty="allow"),
        Numeric(name="length", column="age"),
    ]
    table = shop_table()
    retriever = shop_retriever(tmp_path, table, query=query, source=_with_age(table))
    unknown = retriever.search({"search": "nobody", "words": "never seen", "age": 3}, k=30)
    assert len({hit.id for hit in unknown}) == 30
    assert retriever.search({"words": "never seen", "age": 3}, k=30) == unknown
    message = (
        r"query gives \['words'\], but not 'age'.*needed are \['age'\] of the columns \['search', 'words', 'age'\]"
    )
    with pytest.raises(UserError, match=message):
        retriever.search({"words": "list"}, k=1)
    with pytest.raises(UserError, match=message):
        retriever.search([{"words": "list", "age": 1}, {"words": "list"}], k=1)
    with pytest.raises(UserError, match=r"'length'.*missing") as error:
        retriever.search({"words": "list", "age": None}, k=1)
    assert "needed are" not in str(error.value)


def _with_age(table: Any) -> Any:
    import polars as pl

    from dssm_lightning.data.sources import Frames

    pairs = [(f"q{q}", f"i{(5 * q + step) % 30}") for q in range(12) for step in range(4)]
    queries = pl.DataFrame(
        {"search": [f"q{q}" for q in range(12)], "words": ["list"] * 12, "age": [float(q) for q in range(12)]}
    )
    interactions = pl.DataFrame(pairs, schema=["search", "item"], orient="row")
    return Frames(interactions, queries, table, query_id="search", candidate_id="item")


def test_an_empty_query_lists_the_columns(retriever: Retriever) -> None:
    for search in (lambda: retriever.search({}, k=1), lambda: retriever.search([{}], k=1)):
        with pytest.raises(UserError, match=r"query \{\} is empty.*\['words'\]"):
            search()
    with pytest.raises(UserError, match=r"'words'.*null or empty"):
        retriever.search("", k=1)
