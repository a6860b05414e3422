"""Each way of searching finds the same rows with the same scores, to the bit, as a loop over all products."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.vectors import brute_force, clustered, recall

from dssm_lightning.retrieval.indexes import group_search
from dssm_lightning.retrieval.indexes.group_search import best_of, score_again, search_rows
from dssm_lightning.retrieval.indexes.row_stores import FloatRows, Int8Rows
from dssm_lightning.utils.errors import UserError

WAYS = {"few": {"_FEW": 1 << 30}, "held": {"_FEW": 0, "_HELD": 1 << 30}, "groups": {"_FEW": 0, "_HELD": 0}}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(group_search, name, value)
    return str(request.param)


def use(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    for name, value in WAYS[way].items():
        monkeypatch.setattr(group_search, name, value)


@pytest.mark.parametrize(
    ("count", "k"), [(1, 1), (255, 7), (256, 1), (1000, 31), (1000, 32), (20_001, 100), (3000, 3000)]
)
@pytest.mark.parametrize("share", [None, 0.7, 0.02])
def test_each_way_finds_what_a_loop_finds(way: str, count: int, k: int, share: float | None) -> None:
    vectors, queries = clustered(count, queries=9)
    allowed = None if share is None else np.random.default_rng(1).random(count) < share
    places = None if allowed is None else np.flatnonzero(allowed)
    k = k if places is None else min(k, len(places))
    if not k:
        return
    scores, found = search_rows(FloatRows(vectors), queries, k, places)
    expected_scores, expected = brute_force(vectors, queries, k, allowed)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-6)
    assert recall(found, expected) > 0.999


def test_groups_are_searched_where_the_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("groups")

    monkeypatch.setattr(group_search, "_search_groups", refuse)
    use(monkeypatch, "groups")
    with pytest.raises(AssertionError, match="groups"):
        search_rows(FloatRows(np.ones((1000, 2), np.float32)), np.ones((2, 2), np.float32), 3)


@pytest.mark.parametrize("store", [FloatRows, Int8Rows.of])
def test_all_ways_give_the_same_bits(store: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores and ties depend neither on the way, nor on the other queries, nor on the other vectors."""
    vectors, queries = clustered(5003, width=37, queries=20)
    vectors[[4999, 5000, 5001, 5002]] = vectors[[3, 3, 3, 9]]  # BLAS rounds the last rows differently
    queries[0] = vectors[3]
    rows = store(vectors)
    expected = search_rows(rows, queries, 12)
    assert expected[1][0][:4].tolist() == [3, 4999, 5000, 5001]
    for way in WAYS:
        use(monkeypatch, way)
        for take in (slice(None), slice(0, 1), slice(3, 9)):
            scores, found = search_rows(rows, queries[take], 12)
            np.testing.assert_array_equal(found, expected[1][take])
            np.testing.assert_array_equal(scores, expected[0][take])
    again = score_again(rows, queries, expected[1][:, ::-1])
    np.testing.assert_array_equal(again[0], expected[0])
    np.testing.assert_array_equal(again[1], expected[1])
    scores, found = best_of(rows, queries[5], np.sort(expected[1][5]), 4)
    np.testing.assert_array_equal(scores, expected[0][5, :4])
    np.testing.assert_array_equal(found, expected[1][5, :4])


def test_ties_in_any_way(way: str) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.integers(-1, 2, (4000, 4)), rng.integers(-1, 2, (6, 4))
    store = FloatRows(vectors.astype(np.float32))
    for k in (1, 40, 3999):
        scores, found = search_rows(store, queries.astype(np.float32), k)
        expected_scores, expected = brute_force(vectors, queries, k)
        np.testing.assert_array_equal(scores, expected_scores)
        np.testing.assert_array_equal(found, expected)


def test_zero_vectors_and_zero_queries(way: str) -> None:
    store = FloatRows(np.zeros((1000, 8), np.float32))
    scores, found = search_rows(store, np.zeros((5, 8), np.float32), 3)
    assert found.tolist() == [[0, 1, 2]] * 5
    assert not scores.any()


@pytest.mark.parametrize("row", [0, 500, 999])
def test_a_product_that_is_no_number_is_refused(way: str, row: int) -> None:
    """Infinite minus infinite: it compares as neither greater nor less, and would be left out in silence."""
    vectors = np.ones((1000, 2), np.float32)
    vectors[row] = [1e38, 1e38]
    queries = np.array([[1, 1], [1e3, -1e3]] * 3, np.float32)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="score is not finite"):
        search_rows(FloatRows(vectors), queries, 2)


def test_vectors_in_ascending_order_of_score(way: str) -> None:
    """No group is better than the next by chance: many groups reach the bound of the first ones."""
    store = FloatRows(np.linspace(-1, 1, 9_000, dtype=np.float32)[:, None])
    found = search_rows(store, np.array([[1.0], [-1.0]] * 3, np.float32), 40)[1]
    assert found[:2].tolist() == [list(range(8_999, 8_959, -1)), list(range(40))]


def test_queries_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = clustered(2000, queries=50)
    expected = search_rows(FloatRows(vectors), queries, 5)
    monkeypatch.setattr(group_search, "_QUERIES", 7)
    found = search_rows(FloatRows(vectors), queries, 5)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])
