"""Given lists of candidates in the order of a model: ids, new candidates, ties, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.bundles import export
from helpers.retrievers import Distance, given_retriever, shop

from dssm_lightning.api import make_retriever
from dssm_lightning.retrieval.retriever import Retriever

NORTH = {"direction": [0.0, 1.0]}


def test_ids_and_new_candidates_are_ordered_together() -> None:
    new = {"direction": [0.0, 3.0]}
    named = {"direction": [0.0, 0.5], "id": "e"}
    found = given_retriever().rank(NORTH, ["a", "c", new, "b", named])
    assert [each.candidate for each in found] == [new, "b", "c", named, "a"]
    assert [each.score for each in found] == pytest.approx([6.0, 2.0, 1.6, 1.0, 0.0])
    assert [each.place for each in found] == [2, 3, 1, 4, 0]


def test_a_score_is_that_of_a_search() -> None:
    retriever = given_retriever()
    hits = {hit.id: hit.score for hit in retriever.search(NORTH, k=4)}
    assert {each.candidate: each.score for each in retriever.rank(NORTH, list("dcba"))} == pytest.approx(hits)


def test_a_scorer_without_an_index_orders_too() -> None:
    assert [each.candidate for each in given_retriever(scorer=Distance()).rank(NORTH, list("abcd"))] == list("bcad")


def test_equal_scores_stay_in_the_given_order() -> None:
    same = [{"direction": [0.3, 0.7], "id": str(number)} for number in range(9)]
    found = given_retriever().rank(NORTH, [*same, "b"])
    assert [each.candidate for each in found] == ["b", *same]
    assert len({each.score for each in found}) == 2


def test_an_empty_list_and_no_list() -> None:
    retriever = given_retriever()
    assert retriever.rank(NORTH, []) == []
    assert retriever.rank_all([]) == []
    both = [retriever.given_list(NORTH, []), retriever.given_list(NORTH, ["a"])]
    assert [len(each) for each in retriever.rank_all(both)] == [0, 1]


def test_the_id_alone_is_an_id() -> None:
    [found] = given_retriever().rank(NORTH, [{"id": "b"}])
    assert (found.candidate, found.score) == ({"id": "b"}, 2.0)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (["a", "z"], r"no candidate has id = 'z'.*direction"),
        ([{"id": "z"}], r"no candidate has id = 'z'"),
        ([None], "id.*missing"),
        ([["a"]], r"\['a'\]"),
        ([{"directoin": [1.0, 0.0]}], "directoin.*did you mean 'direction'"),
        ([{"direction": [1.0]}], "direction"),
        ("ab", "candidates is 'ab'.*list"),
        ({"id": "a"}, "candidates"),
    ],
)
def test_what_is_refused(candidates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given_retriever().rank(NORTH, candidates)


def test_a_query_that_is_refused() -> None:
    with pytest.raises(ValueError, match="directoin"):
        given_retriever().rank({"directoin": [0.0, 1.0]}, ["a"])


MLP = {"class_path": "dssm_lightning.models.scorers.MLPScorer", "init_args": {"query_dim": 16, "candidate_dim": 16}}


@pytest.mark.slow
def test_a_bundle_without_an_index_orders_as_its_model(tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache", model={"scorer": MLP})
    bundle = Retriever.load(export(model, data, tmp_path / "bundle"))
    ids = [bundle.corpus.rows.id(row) for row in range(7)]
    query = {"words": "list file"}
    ours, theirs = bundle.rank(query, ids), make_retriever(model, data).rank(query, ids)
    assert [each.candidate for each in ours] == [each.candidate for each in theirs]
    np.testing.assert_allclose([each.score for each in ours], [each.score for each in theirs], atol=1e-4)
