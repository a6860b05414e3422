"""Raw values in, ids, scores and display columns out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.retrievers import EMBEDDINGS, Distance, given_retriever

from dssm_lightning.models.scorers import Dot, MultiHeadDot
from dssm_lightning.retrieval.retriever import RawValues
from dssm_lightning.utils.errors import UserError


def test_the_best_come_first() -> None:
    hits = given_retriever().search({"direction": [0.0, 1.0]}, k=3)
    assert [(hit.id, hit.display) for hit in hits] == [
        ("b", {"name": "bee"}),
        ("c", {"name": "cow"}),
        ("a", {"name": "ant"}),
    ]
    assert [hit.score for hit in hits] == pytest.approx([2.0, 1.6, 0.0])


@pytest.mark.parametrize("scorer", [Dot(2.0), Distance(), MultiHeadDot(2, "max"), MultiHeadDot(2, "mean")])
def test_many_queries_have_the_hits_of_each_alone(scorer: Any) -> None:
    queries: list[RawValues] = [{"direction": [0.0, 1.0]}, {"direction": [-1.0, 0.3]}]
    searcher = given_retriever(scorer=scorer)
    together = searcher.search_all(queries, k=3)
    assert searcher.search(queries, k=3) == searcher.search(tuple(queries), k=3) == together  # type: ignore[arg-type]  # a tuple, too
    for one, all_at_once in zip(queries, together, strict=True):
        alone = searcher.search(one, k=3)
        assert [(hit.id, hit.display) for hit in all_at_once] == [(hit.id, hit.display) for hit in alone]
        assert [hit.score for hit in all_at_once] == pytest.approx([hit.score for hit in alone])
        columns = torch.arange(4)[None]
        wanted = scorer.pairs(torch.tensor([one["direction"]]), torch.tensor(EMBEDDINGS), columns)[0]  # type: ignore[index]
        best = wanted.sort(descending=True, stable=True)
        assert [hit.score for hit in alone] == pytest.approx(best.values[:3].tolist(), abs=1e-6)
        assert [hit.id for hit in alone] == ["abcd"[row] for row in best.indices[:3].tolist()]


def test_no_query_has_no_hits() -> None:
    assert given_retriever().search_all([], k=3) == []
    assert given_retriever().search([], k=3) == []
    assert given_retriever().search_vectors(np.empty((0, 2)), k=3) == []
    with pytest.raises(ValueError, match=r"k is 5.*4 candidates"):
        given_retriever().search_all([], k=5)


def test_display_columns_are_shown() -> None:
    assert given_retriever([]).search({"direction": [1.0, 0.0]}, k=1)[0].display == {}
    [hit] = given_retriever(["size", "name"]).search({"direction": [1.0, 0.0]}, k=1)
    assert hit.display == {"size": 1, "name": "ant"}


def test_similarity_is_the_inner_product_if_an_index_can_serve() -> None:
    query = np.array([[0.0, 1.0]], np.float32)
    assert np.array_equal(given_retriever().similarity(query, EMBEDDINGS), query @ EMBEDDINGS.T)  # unscaled
    found = given_retriever(scorer=Distance()).similarity(query, EMBEDDINGS)
    np.testing.assert_allclose(found, -torch.cdist(torch.tensor(query), torch.tensor(EMBEDDINGS)), atol=1e-6)


def test_many_values_at_once_and_missing_columns() -> None:
    found = given_retriever().encode_candidate([{"direction": [1.0, 2.0], "kind": "x"}, {"direction": [3.0, 4.0]}])
    assert found.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert given_retriever().encode_query({"direction": [1.0, 2.0]}).tolist() == [[1.0, 2.0]]
    assert given_retriever().encode_query([]).shape == (0, 2)


def test_scores_of_given_candidates_are_those_of_a_search() -> None:
    for scorer in (Dot(2.0), Distance(), MultiHeadDot(2, "max", logit_scale=3.0)):
        retriever, query = given_retriever(scorer=scorer), {"direction": [0.5, 0.5]}
        given = [{"direction": row.tolist()} for row in EMBEDDINGS]
        scores = dict(zip("abcd", retriever.score(query, given), strict=True))
        for hit in retriever.search(query, k=4):
            assert hit.score == pytest.approx(scores[hit.id], abs=1e-6)
        assert retriever.score(query, given[1]) == pytest.approx([scores["b"]])


def test_similar_candidates_have_the_greatest_cosine() -> None:
    hits = given_retriever().similar("b", k=3)
    assert [(hit.id, hit.score) for hit in hits] == [
        ("c", pytest.approx(0.8)),
        ("a", pytest.approx(0)),
        ("d", pytest.approx(0)),
    ]
    assert [hit.id for hit in given_retriever().similar("b", k=1, exclude=["c"])] == ["a"]
    assert [hit.id for hit in given_retriever().similar("b", k=3, filter="size > 3")] == ["d"]
    for scorer in (Distance(), MultiHeadDot(2, "max")):
        assert [hit.id for hit in given_retriever(scorer=scorer).similar("b", k=1)] == ["c"]
    with pytest.raises(UserError, match=r"k is 4.*4 candidates, 1 of them excluded"):
        given_retriever().similar("b", k=4)
    with pytest.raises(UserError, match=r"no candidate has id = 'z'"):
        given_retriever().similar("z")


def test_a_vector_of_zeros_is_similar_to_none() -> None:
    embeddings = EMBEDDINGS.copy()
    embeddings[1] = 0
    retriever = given_retriever(embeddings=embeddings)
    assert [hit.score for hit in retriever.similar("b", k=3)] == [0, 0, 0]
    assert {hit.id: hit.score for hit in retriever.similar("a", k=3)}["b"] == 0


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ({"direction": [1.0, 0.0]}, 5, "k is 5.*4 candidates"),
        ({"direction": [1.0, 0.0]}, 0, "k is 0.*4 candidates"),
        ({"direction": [1.0, 0.0]}, -1, "k is -1.*4 candidates"),
        ({"direction": [1.0, 0.0]}, True, "k is True.*whole number"),
        ({"direction": [1.0, 0.0]}, "2", "k is '2'.*whole number"),
        ({"direction": [1.0, 0.0]}, 10**30, f"k is {10**30}.*4 candidates"),
        (
            {"diretcion": [1.0, 0.0]},
            1,
            r"query column 'diretcion'.*\['direction'\].*did you mean 'direction'",
        ),
        ({}, 1, r"query \{\}.*\['direction'\]"),
        ({"direction": [1.0, 0.0, 0.0]}, 1, "direction"),
        ({"direction": None}, 1, "direction"),
        (5, 1, "query 5 is neither"),
        (np.zeros(2), 1, r"query array\(.* is neither"),
    ],
)
def test_bad_queries(query: Any, k: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        given_retriever().search(query, k)
    assert "\n" not in str(found.value)
    if isinstance(query, dict) and query.get("direction") == [1.0, 0.0]:
        for search in (
            lambda: given_retriever().similar("a", k),
            lambda: given_retriever().search_vectors([[1, 0]], k),
        ):
            with pytest.raises(UserError, match=message.partition(".")[0]):
                search()


def test_a_bare_text_needs_one_column() -> None:
    with pytest.raises(ValueError, match=r"candidate 'x'.*\['direction', 'kind'\]"):
        given_retriever().encode_candidate(["x"])


def test_a_history_that_names_no_candidates_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"exclude_history.*'id'.*\['direction'\]"):
        given_retriever().search({"direction": [1.0, 0.0]}, k=1, exclude_history=True)


# -- ids that are left out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", [Dot(2.0), Distance(), MultiHeadDot(2, "max")])
def test_excluded_ids_are_left_out(scorer: Any) -> None:
    retriever, query = given_retriever(scorer=scorer), {"direction": [0.1, 1.0]}
    order = [hit.id for hit in retriever.search(query, k=4)]
    for exclude in (["b"], ("b", "c"), {"b", "a"}, ["b", "b"], [], (each for each in "bc"), np.array(["b"])):
        gone = set(exclude) if not hasattr(exclude, "send") else {"b", "c"}
        hits = retriever.search(query, k=2, exclude=exclude)  # type: ignore[arg-type]  # collections of any kind
        assert [hit.id for hit in hits] == [each for each in order if each not in gone][:2]
    assert [hit.id for hit in retriever.search_vectors([[0.1, 1.0]], k=1, exclude=["b"])[0]] == [
        each for each in order if each != "b"
    ][:1]
    with pytest.raises(UserError, match=r"k is 3.*4 candidates, 2 of them excluded.*1 to 2"):
        retriever.search(query, k=3, exclude=["a", "b"])


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (["a", "z"], "no candidate has id = 'z'"),
        ("ab", r"exclude is 'ab'; give a list"),
        (b"ab", "exclude is b'ab'"),
        ({"a": 1}, "exclude is"),
        (5, "exclude is 5"),
        ([None], "id 'id' is missing"),
        ([["a"]], r"'id' is \['a'\].*type list"),
        (["\ud800"], "half of a surrogate pair"),
    ],
)
def test_ids_that_cannot_be_left_out(exclude: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given_retriever().search({"direction": [0.1, 1.0]}, k=1, exclude=exclude)
    with pytest.raises(UserError, match=message):
        given_retriever().similar("a", k=1, exclude=exclude)


# -- vectors -----------------------------------------------------------------------------------------------------------


def test_embedded_queries_have_the_hits_of_their_raw_values() -> None:
    retriever, queries = given_retriever(), [{"direction": [0.3, 1.0]}, {"direction": [-1.0, 0.3]}]
    assert retriever.search_vectors(retriever.encode_query(queries), k=3) == retriever.search(queries, k=3)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1, 2, 3]], r"\(1, 3\).*\(Q, 2\)"),
        ([1, 2], r"\(2,\).*\(Q, 2\)"),
        ([[1, float("nan")], [1, 2]], "embedding of query 0 is not finite"),
        ([[1, 2], [1, 1e300]], "embedding of query 1 is not finite"),
        ([["a", "b"]], "no table of numbers"),
        ([[1], [1, 2]], "no table of numbers"),
        (None, r"no table of numbers|\(Q, 2\)"),
    ],
)
def test_bad_vectors(vectors: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given_retriever().search_vectors(vectors, k=1)


# -- the life of a retriever -------------------------------------------------------------------------------------------


def test_a_closed_retriever_says_so() -> None:
    with given_retriever() as retriever:
        assert len(retriever) == 4
    uses: list[Any] = [
        lambda: retriever.search({"direction": [1, 0]}, k=1),
        lambda: retriever.search_vectors([[1, 0]], k=1),
        lambda: retriever.similar("a", k=1),
        lambda: retriever.encode_query({"direction": [1, 0]}),
        lambda: retriever.add([{"id": "e", "direction": [1, 0]}]),
        lambda: retriever.remove(["a"]),
        lambda: len(retriever),
    ]
    for use in uses:
        with pytest.raises(UserError, match="retriever is closed"):
            use()
    retriever.close()  # again


def test_a_retriever_without_a_bundle_cannot_be_saved(tmp_path: Any) -> None:
    with pytest.raises(UserError, match=r"not loaded from a bundle.*export"):
        given_retriever().save(tmp_path / "bundle")


def test_what_a_caller_does_to_a_hit_changes_no_later_answer() -> None:
    import polars as pl

    table = pl.DataFrame({"id": ["a", "b"], "tags": [["x"], ["y"]], "about": [{"n": [1]}, {"n": [2]}]})
    retriever = given_retriever(["tags", "about"], table=table, embeddings=EMBEDDINGS[:2])
    for _ in range(2):
        [hit] = retriever.search({"direction": [1, 0]}, k=1, filter="tags = 'x'")
        assert hit.display == {"tags": ["x"], "about": {"n": [1]}}
        hit.display["tags"].append("z")
        hit.display["about"]["n"].clear()
