"""``Exact`` finds what a loop over all products finds, in every precision, with and without a mask."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.vectors import brute_force, clustered, recall, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.indexes.binary_codes import _count_bits_by_table, count_bits
from dssm_lightning.retrieval.indexes.row_stores import FloatRows
from dssm_lightning.utils.errors import UserError


def assert_same(index: Exact, vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> None:
    expected_scores, expected = brute_force(vectors, queries, k, allowed)
    scores, rows = index.search(queries, k, allowed)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-5)
    own = np.einsum("qkd,qd->qk", vectors[rows].astype(np.float64), queries.astype(np.float64))
    np.testing.assert_allclose(own, expected_scores, rtol=0, atol=1e-5)  # rows may differ at near-ties only
    assert recall(rows, expected) > 0.99


@pytest.mark.parametrize(
    ("count", "k"),
    [(1, 1), (5, 5), (63, 1), (64, 1), (65, 1), (1000, 3), (1000, 1000), (20_001, 10), (33_000, 40), (33_000, 2000)],
)
@pytest.mark.parametrize("num_queries", [1, 3, 300])
def test_it_finds_what_a_loop_finds(count: int, k: int, num_queries: int) -> None:
    vectors, queries = clustered(count, queries=num_queries)
    assert_same(Exact().build(vectors), vectors, queries[: 3 if k > 100 else None], k, None)


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_a_mask_is_exact(share: float) -> None:
    vectors, queries = clustered(30_000)
    allowed = np.random.default_rng(1).random(30_000) < share
    index = Exact().build(vectors)
    assert_same(index, vectors, queries, 10, allowed)
    assert allowed[index.search(queries, 10, allowed).rows].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 5), st.data())
def test_any_shape_with_many_ties(count: int, width: int, num_queries: int, data: st.DataObject) -> None:
    """Small whole numbers: products are exact, equal scores frequent, and the lower row comes first."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    vectors, queries = rng.integers(-2, 3, (count, width)), rng.integers(-2, 3, (num_queries, width))
    allowed = rng.random(count) < 0.6
    allowed[0] = True
    for mask, most in ((None, count), (allowed, int(allowed.sum()))):
        k = data.draw(st.integers(1, most))
        expected_scores, expected = brute_force(vectors, queries, k, mask)
        scores, rows = Exact().build(vectors).search(queries, k, mask)
        np.testing.assert_array_equal(scores, expected_scores)
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("num_queries", [1, 7])
def test_equal_vectors_give_the_lowest_rows(num_queries: int) -> None:
    """In the pass over groups; far more vectors tie than are asked for."""
    vectors = np.tile(unit(np.random.default_rng(0).normal(size=(1, 24))), (40_000, 1))
    rows = Exact().build(vectors).search(np.tile(vectors[:1], (num_queries, 1)), 20).rows
    np.testing.assert_array_equal(rows, np.tile(np.arange(20), (num_queries, 1)))


def test_repeated_vectors_come_in_order() -> None:
    vectors, queries = clustered(9_001, width=24)
    repeated = np.concatenate([vectors] * 4)  # row r equals r + 9,001, …: at other places of tiles
    rows = Exact().build(repeated).search(queries, 40).rows
    expected = brute_force(vectors, queries, 10)[1]
    np.testing.assert_array_equal(rows[:, ::4] % 9_001, expected)
    np.testing.assert_array_equal(np.diff(rows.reshape(-1, 10, 4), axis=2), 9_001)


def test_vectors_in_ascending_order_of_score() -> None:
    vectors = np.linspace(-1, 1, 50_000, dtype=np.float32)[:, None]
    assert Exact().build(vectors).search([[1.0], [-1.0]], 3).rows.tolist() == [[49_999, 49_998, 49_997], [0, 1, 2]]


# -- less precision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "least"),
    [
        (Exact("float16"), 0.99),
        (Exact("int8"), 0.97),
        (Exact("int8", rescore="float32", oversampling=4), 0.999),
        (Exact("binary"), 0.95),
        (Exact("binary", rescore="float32"), 0.96),
    ],
    ids=lambda value: str(getattr(value, "settings", value)),
)
@pytest.mark.parametrize("share", [None, 0.5, 0.05])
def test_less_precision_keeps_the_recall(index: Exact, least: float, share: float | None) -> None:
    vectors, queries = clustered(20_000, width=96)
    allowed = None if share is None else np.random.default_rng(1).random(20_000) < share
    index.build(vectors)
    scores, rows = index.search(queries, 20, allowed)
    assert recall(rows, brute_force(vectors, queries, 20, allowed)[1]) >= least
    own = np.einsum("qkd,qd->qk", vectors[rows], queries)
    np.testing.assert_allclose(scores, own, atol=0.01)
    assert (np.diff(scores, axis=1) <= 0).all()
    if allowed is not None:
        assert allowed[rows].all()


def test_the_rotation_helps_where_dimensions_differ_in_size() -> None:
    rng = np.random.default_rng(0)
    sizes = np.arange(1, 129) ** -0.7
    vectors, queries = (unit(rng.normal(size=(n, 128)) * sizes + 0.05) for n in (20_000, 40))
    index = Exact("binary", oversampling=80).build(vectors)
    assert recall(index.search(queries, 20).rows, brute_force(vectors, queries, 20)[1]) > 0.9


@pytest.mark.parametrize("width", [1, 63, 64, 65, 256, 300])
def test_bits_of_any_width(width: int) -> None:
    vectors, _ = clustered(500, width)
    rows = Exact("binary", oversampling=500).build(vectors).search(vectors[:9], 3).rows  # all rows are scored again
    assert recall(rows, brute_force(vectors, vectors[:9], 3)[1]) > 0.95 or width == 1


def test_int8_of_zeros_and_of_extreme_numbers() -> None:
    vectors = np.array([[0, 0], [1e-45, 0], [1e30, -1e30], [1e-3, 2e-3]], np.float32)
    scores, rows = Exact("int8").build(vectors).search([[0, 1e-6]], 4)
    assert rows[0].tolist() == [3, 0, 1, 2]
    assert scores[0, 0] == pytest.approx(2e-9, rel=0.01)


def test_bits_are_counted_the_same_without_numpy_2() -> None:
    words = np.random.default_rng(0).integers(0, 1 << 63, (50,), dtype=np.uint64)
    expected = [bin(word).count("1") for word in words.tolist()]
    assert _count_bits_by_table(words).tolist() == expected
    assert count_bits(words).tolist() == expected


# -- one and many ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary"])
def test_one_query_and_many_threads_find_what_a_batch_finds(precision: str) -> None:
    vectors, queries = clustered(20_000, width=64)
    index = Exact(precision).build(vectors)
    scores, rows = index.search(queries, 5)
    with ThreadPoolExecutor(4) as pool:
        single = list(pool.map(lambda query: index.search(query[None], 5), queries))
    np.testing.assert_array_equal(np.concatenate([each.rows for each in single]), rows)
    np.testing.assert_array_equal(np.concatenate([each.scores for each in single]), scores)


def test_no_query_has_no_answer() -> None:
    scores, rows = Exact().build(np.eye(3)).search(np.empty((0, 3)), 2)
    assert scores.shape == rows.shape == (0, 2)


def test_rows_name_the_vectors() -> None:
    index = Exact().build(np.eye(3), rows=[4, 7, 9])
    assert index.search([[0, 0, 1], [1, 0, 0]], 1).rows.tolist() == [[9], [4]]
    assert index.search([[0, 0, 1]], 1, allowed=[True, True, False]).rows.tolist() == [[4]]


def test_vectors_are_not_copied() -> None:
    vectors, _ = clustered(100)
    store = Exact().build(vectors)._stores["float32"]
    assert isinstance(store, FloatRows)
    assert np.shares_memory(store.values, vectors)


def test_vectors_that_are_mapped_from_a_file_stay_there(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", clustered(100)[0])
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = Exact().build(mapped)
    store = index._stores["float32"]
    assert isinstance(store, FloatRows)
    assert np.shares_memory(store.values, mapped)
    assert index.search(mapped[[7]], 1).rows.tolist() == [[7]]


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int4"}, r"precision is 'int4'.*float32, float16, int8, binary"),
        ({"rescore": "binary"}, r"rescore is 'binary'"),
        ({"oversampling": 0}, r"oversampling is 0"),
        ({"oversampling": True}, r"oversampling is True"),
    ],
)
def test_a_wrong_setting(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Exact(**settings)


@pytest.mark.parametrize(
    ("k", "allowed", "message"),
    [
        (0, None, r"k is 0.*3 vectors.*1 to 3"),
        (4, None, r"k is 4.*3 vectors.*1 to 3"),
        (True, None, r"k is True.*whole number"),
        ("2", None, r"k is '2'.*whole number"),
        (2.0, None, r"k is 2\.0.*whole number"),
        (2, [True, False, False], r"k is 2.*3 vectors, 1 of them allowed.*1 to 1"),
        (1, [False] * 3, r"k is 1.*0 of them allowed.*none"),
        (1, [True] * 4, r"allowed.*\(4,\).*3 truth values"),
        (1, [0, 2, 1], r"allowed.*int64.*truth values"),
    ],
)
def test_a_wrong_number_of_answers_or_mask(k: object, allowed: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Exact().build(np.eye(3)).search([[0, 0, 1]], k, allowed)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([1.0, 2.0], r"vectors.*shape \(2,\)"),
        (np.empty((0, 3)), r"vectors.*shape \(0, 3\)"),
        (np.empty((3, 0)), r"vectors.*shape \(3, 0\)"),
        ([["a"]], r"vectors must be a table of numbers"),
        ([[1.0], [1.0, 2.0]], r"vectors must be a table of numbers"),
        ([[1.0], [np.nan]], r"vectors: row 1.*finite"),
        ([[1e39]], r"vectors: row 0.*finite"),
        (np.zeros((1, 70_000)), r"70,000 wide.*65,536"),
    ],
)
def test_vectors_that_are_none(vectors: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Exact().build(vectors)


@pytest.mark.parametrize(
    ("rows", "message"),
    [([1, 1], "ascend"), ([2, 1], "ascend"), ([-1, 1], "ascend"), ([1], r"\(1,\).*2 whole"), ([0.5, 1], "float64")],
)
def test_rows_that_name_no_vectors(rows: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Exact().build(np.eye(2), rows)


def test_queries_of_another_width_or_with_nan() -> None:
    index = Exact().build(np.eye(3))
    with pytest.raises(UserError, match=r"queries are 2 wide.*3 wide"):
        index.search([[1.0, 2.0]], 1)
    with pytest.raises(UserError, match=r"queries: row 1.*finite"):
        index.search([[1.0, 2.0, 3.0], [1.0, np.inf, 3.0]], 1)


def test_scores_that_overflow() -> None:
    with pytest.raises(UserError, match="score is not finite"):
        Exact().build([[1e38, 1e38]]).search([[1e38, 1e38]], 1)
    with pytest.raises(UserError, match=r"float16.*65,504"):
        Exact("float16").build([[1e6]])


def test_nothing_was_built() -> None:
    with pytest.raises(UserError, match="build or load"):
        Exact().search([[1.0]], 1)


def test_the_package_is_light() -> None:
    code = "import sys, dssm_lightning.retrieval.indexes, dssm_lightning.retrieval.filters; print(*sys.modules)"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    found = set(done.stdout.split())
    assert "numpy" in found
    assert not found & {"torch", "polars", "faiss", "qdrant_client", "qdrant_edge", "scipy", "lightning", "lark"}
