"""The table says what an index finds, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.vectors import brute_force, clustered, recall

from dssm_lightning.retrieval.indexes import Exact, Faiss, recall_table
from dssm_lightning.utils.errors import UserError


def test_recall_is_that_of_a_loop() -> None:
    vectors, queries = clustered(3_000, width=64)
    index = Exact("binary", oversampling=1).build(vectors)
    [row] = recall_table(index, Exact().build(vectors), queries, 10, filters=())
    expected = recall(index.search(queries, 10).rows, brute_force(vectors, queries, 10)[1])
    assert row.recall == pytest.approx(expected)
    assert row.recall < 0.9
    assert (row.engine, row.share, row.k) == ("exact", 1.0, 10)
    assert row.settings == "precision=binary rescore=int8 oversampling=1"
    assert row.size == 3_000 * (8 + 64 + 4) + 64 * 64 * 4
    assert min(row.queries_per_second, row.queries_per_second_in_batches) > 0
    assert row.build_seconds >= 0


def test_an_exact_index_finds_everything_under_each_mask() -> None:
    vectors, queries = clustered(3_000)
    exact = Exact().build(vectors)
    rows = recall_table(exact, exact, queries, 20)
    assert [row.share for row in rows] == [1.0, 0.5, 0.05, 0.005]
    assert [row.recall for row in rows] == [1.0] * 4


def test_ties_count_as_found() -> None:
    vectors = np.tile(np.eye(8, dtype=np.float32), (200, 1))
    pytest.importorskip("faiss")
    index = Faiss("Flat").build(vectors)
    [row] = recall_table(index, Exact().build(vectors), vectors[:8], 5, filters=())
    assert row.recall == 1.0


def test_faiss_keeps_its_recall_under_masks() -> None:
    pytest.importorskip("faiss")
    vectors, queries = clustered(5_000)
    index = Faiss("HNSW32").build(vectors)
    rows = recall_table(index, Exact().build(vectors), queries, 10)
    assert all(row.recall >= 0.99 for row in rows)
    assert rows[0].size > 5_000 * 16 * 4
    assert rows[0].build_seconds > 0


@pytest.mark.parametrize("share", [0, 1.5, True, "0.5"])
def test_a_share_that_is_none(share: object) -> None:
    exact = Exact().build(np.eye(9))
    with pytest.raises(UserError, match=f"filters: {share!r}"):
        recall_table(exact, exact, np.eye(9), 2, filters=[share])


def test_mistakes() -> None:
    exact = Exact().build(np.eye(9))
    with pytest.raises(UserError, match=r"9 × 9.*8 × 8"):
        recall_table(exact, Exact().build(np.eye(8)), np.eye(9), 2)
    with pytest.raises(UserError, match="the same vectors"):
        recall_table(exact, Exact().build(2 * np.eye(9)), np.eye(9), 2)
    with pytest.raises(UserError, match="k is 10"):
        recall_table(exact, exact, np.eye(9), 10)
    with pytest.raises(UserError, match="queries"):
        recall_table(exact, exact, np.empty((0, 9)), 2)
