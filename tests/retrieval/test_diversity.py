"""Maximal marginal relevance by hand and against a naive loop, through every kind of search."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers.retrievers import given_retriever
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dssm_lightning.retrieval.diversity import POOL, diverse_places
from dssm_lightning.retrieval.retriever import Retriever

WORDS = ("copy a file", "open the user group")


def unit(*angles: float) -> NDArray[Any]:
    """Vectors of the plane at some angles, in degrees."""
    return np.array([[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in angles])


def naive(scores: list[float], directions: NDArray[Any], k: int, diversity: float) -> list[int]:
    """The formula of Carbonell and Goldstein, one pair after the other."""
    spread = max(scores) - min(scores)
    relevance = [(score - min(scores)) / spread if spread else 0.0 for score in scores]
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        values = []
        for i in range(len(scores)):
            similar = max((float(directions[i] @ directions[j]) for j in chosen), default=0.0)
            values.append(-math.inf if i in chosen else (1 - diversity) * relevance[i] - diversity * similar)
        chosen.append(max(range(len(scores)), key=lambda i: (values[i], -i)))
    return chosen


def test_by_hand() -> None:
    # relevance 1, .8, .5, 0; cosines with place 0: 1, cos 60° = .5, 0; place 2 to place 3: cos 30°
    scores, directions = np.array([3.0, 2.6, 2.0, 1.0]), unit(0, 0, 60, 90)
    assert diverse_places(scores, directions, 4, 0.0).tolist() == [0, 1, 2, 3]
    # λ = .2: .8 · .8 − .2 = .44 against .8 · .5 − .2 · .5 = .3; then .3 against 0
    assert diverse_places(scores, directions, 4, 0.2).tolist() == [0, 1, 2, 3]
    # λ = .4: .6 · .8 − .4 = .08, .6 · .5 − .4 · .5 = .1 and 0; then .08 against −.4 · .866
    assert diverse_places(scores, directions, 4, 0.4).tolist() == [0, 2, 1, 3]
    # λ = 1: cosines alone: 1, .5 and 0; then .866 of place 2 is less than 1 of place 1
    assert diverse_places(scores, directions, 4, 1.0).tolist() == [0, 3, 2, 1]
    assert diverse_places(scores, directions, 2, 1.0).tolist() == [0, 3]


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(0, 12),
    k=st.integers(1, 14),
    diversity=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    equal=st.booleans(),
)
def test_against_a_naive_loop(seed: int, size: int, k: int, diversity: float, equal: bool) -> None:
    """Ties included: scores and directions of a few values, which float64 holds exactly."""
    generator = np.random.default_rng(seed)
    scores = np.full(size, 2.0) if equal else -np.sort(-generator.integers(0, 5, size) / 4)
    axes = np.concatenate([np.eye(3), -np.eye(3), np.zeros((1, 3))])[generator.integers(0, 7, size)]
    found = diverse_places(scores, axes, k, diversity).tolist()
    assert found == (naive(scores.tolist(), axes, k, diversity) if size else [])
    assert len(set(found)) == len(found) == min(k, size)


def test_scores_of_any_scale_give_the_same_answers() -> None:
    generator = np.random.default_rng(3)
    scores, directions = -np.sort(-generator.normal(size=30)), generator.normal(size=(30, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wanted = diverse_places(scores, directions, 9, 0.4).tolist()
    for scale, shift in ((20.0, 0.0), (1e-3, -7.0)):
        assert diverse_places(scores * scale + shift, directions, 9, 0.4).tolist() == wanted


# -- searches ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(shop_bundle: Any) -> Retriever:
    return Retriever.load(shop_bundle)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"filter": "price > 5"},
    {"exclude": ["i3", "i4"]},
    {"hybrid": True},
    {"hybrid": 1.5, "filter": "sold = true", "exclude": ["i7"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_0_is_the_plain_search(shop: Retriever, options: dict[str, Any]) -> None:
    for zero in (0, 0.0, -0.0):
        assert shop.search(WORDS[0], 6, diversity=zero, **options) == shop.search(WORDS[0], 6, **options)


@pytest.mark.parametrize("diversity", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_answers_are_chosen_among_the_best(shop: Retriever, options: dict[str, Any], diversity: float) -> None:
    k = 4
    together = shop.search(list(WORDS), k, diversity=diversity, **options)
    for text, found, best in zip(WORDS, together, shop.search(list(WORDS), POOL * k, **options), strict=True):
        directions = np.array([direction_of(shop, hit.id) for hit in best])
        chosen = diverse_places(np.array([hit.score for hit in best]), directions, k, diversity)
        assert [hit.id for hit in found] == [best[place].id for place in chosen]
        assert [hit.score for hit in found] == pytest.approx([best[place].score for place in chosen], abs=1e-6)
        assert found[0].id == best[0].id
        if "hybrid" not in options:  # ranks of nearly equal scores may differ alone and among others
            assert found == shop.search(text, k, diversity=diversity, **options)


def direction_of(retriever: Retriever, candidate_id: str) -> NDArray[Any]:
    corpus = retriever.corpus
    row = corpus.rows.find(candidate_id)
    assert row is not None
    vector = corpus.embeddings[row, : corpus.towers.vector_width]
    return np.asarray(vector / np.linalg.norm(vector))


def test_diverse_answers_are_farther_from_each_other(shop: Retriever) -> None:
    spread = []
    for diversity in (0.0, 1.0):
        found = shop.search(WORDS[0], 6, diversity=diversity)
        vectors = np.array([direction_of(shop, hit.id) for hit in found])
        spread.append(1 - (vectors @ vectors.T)[np.triu_indices(6, 1)].mean())
    assert spread[1] > spread[0]


def test_embedded_queries_have_the_answers_of_raw_ones(shop: Retriever) -> None:
    embedded = shop.encode_query(list(WORDS))
    for options in OPTIONS[:3]:
        found = shop.search_vectors(embedded, 4, diversity=0.5, **options)
        assert found == shop.search(list(WORDS), 4, diversity=0.5, **options)


def test_a_small_or_filtered_corpus_gives_what_it_has(shop: Retriever) -> None:
    total = len(shop)
    found = shop.search(WORDS[0], total, diversity=0.5)
    assert {hit.id for hit in found} == {hit.id for hit in shop.search(WORDS[0], total)}
    assert shop.search(WORDS[0], 5, filter="price > 1e9", diversity=0.5) == []


@pytest.mark.parametrize("diversity", [-0.1, 1.5, math.nan, math.inf, True, "0.5", None])
def test_a_diversity_outside_0_and_1_is_named(diversity: Any) -> None:
    retriever = given_retriever()
    for search in (
        lambda: retriever.search({"direction": [1.0, 0.0]}, k=1, diversity=diversity),
        lambda: retriever.search_vectors(np.zeros((1, 2)), k=1, diversity=diversity),
    ):
        with pytest.raises(ValueError, match=rf"diversity is {diversity!r}.*\[0, 1\]"):
            search()
