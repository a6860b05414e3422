"""Exact top-k search against the top-k of the whole matrix of scores."""

from __future__ import annotations

import pytest
import torch

from dssm_lightning.retrieval.exact_search import exact_top_k


@pytest.mark.parametrize(
    ("Q", "N", "k"), [(1, 50, 50), (3, 31, 2), (70, 9_000, 7), (5, 8192 * 2 + 63, 100), (2, 352, 10)]
)
def test_it_is_topk_of_all_scores(Q: int, N: int, k: int) -> None:
    generator = torch.Generator().manual_seed(Q)
    query, corpus = torch.randn(Q, 8, generator=generator), torch.randn(N, 8, generator=generator)
    corpus[-1] = 9 * query[0]  # the last row is in no whole group if 32 does not divide N
    expected = (query @ corpus.T).topk(k)
    values, rows = exact_top_k(query, corpus, k)
    torch.testing.assert_close(values, expected.values)
    torch.testing.assert_close((query @ corpus.T).gather(1, rows), values)
    assert rows[0, 0] == N - 1
    assert all(len(set(row)) == k for row in rows.tolist())


def test_the_best_may_all_be_of_one_group() -> None:
    query, corpus = torch.ones(1, 4), torch.zeros(3200, 4)
    corpus[64:96] = torch.arange(1.0, 33)[:, None]
    values, rows = exact_top_k(query, corpus, 5)
    assert values.tolist() == [[128, 124, 120, 116, 112]]
    assert rows.tolist() == [[95, 94, 93, 92, 91]]


def test_equal_scores_give_k_different_rows() -> None:
    values, rows = exact_top_k(torch.ones(2, 3), torch.ones(5000, 3), 9)
    assert values.unique().tolist() == [3]
    assert all(len(set(row)) == 9 for row in rows.tolist())


@pytest.mark.parametrize("k", [0, 6])
def test_a_k_outside_the_corpus_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k is {k}.*5 candidates"):
        exact_top_k(torch.ones(1, 2), torch.ones(5, 2), k)
