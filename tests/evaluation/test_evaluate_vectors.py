"""Given vectors are ranked as a model's are: by hand, and against a loop."""

from __future__ import annotations

import pytest
import torch

import dssm_lightning
from dssm_lightning.evaluation import evaluate_vectors as module
from dssm_lightning.evaluation.evaluate_vectors import evaluate_vectors
from dssm_lightning.utils.errors import UserError


def test_by_hand() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    corpus = torch.tensor([[3.0, 0.0], [2.0, 1.0], [0.0, 9.0]])
    # scores: 3 2 0 · 0 1 9 · 3 3 9: ranks 0 of row 0; 1 of row 1; nothing to find
    metrics = evaluate_vectors(query, corpus, [[0], [1], []], ks=[1, 2])
    assert metrics["hit_rate@1"] == pytest.approx(1 / 2)
    assert metrics["hit_rate@2"] == 1
    assert metrics["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert not [name for name in metrics if "/" in name]


def test_seen_rows_are_masked_and_kept_beside() -> None:
    vectors = torch.tensor([[3.0], [2.0], [1.0]])
    metrics = evaluate_vectors(torch.ones(1, 1), vectors, [[1]], seen=[[0]], ks=[1])
    assert metrics["hit_rate@1"] == 1
    assert metrics["seen_kept/hit_rate@1"] == 0


def test_against_a_loop_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 150)  # three queries at once
    generator = torch.Generator().manual_seed(1)
    query, corpus = torch.randn(20, 8, generator=generator), torch.randn(50, 8, generator=generator)
    relevant = [torch.randperm(50, generator=generator)[: 1 + q % 3].tolist() for q in range(20)]
    metrics = evaluate_vectors(query, corpus, relevant, ks=[10])
    reciprocal, hits = [], []
    for scores, rows in zip(query @ corpus.T, relevant, strict=True):
        order = scores.argsort(descending=True).tolist()
        best = min(order.index(row) for row in rows)
        reciprocal.append(1 / (best + 1))
        hits.append(best < 10)
    assert metrics["mrr"] == pytest.approx(sum(reciprocal) / 20)
    assert metrics["hit_rate@10"] == pytest.approx(sum(hits) / 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": torch.ones(2, 3)}, r"query is \(2, 3\) and corpus \(4, 2\)"),
        ({"corpus": torch.ones(0, 2)}, r"corpus \(0, 2\)"),
        ({"relevant": [[0]]}, "relevant has 1 lists for 2"),
        ({"relevant": [[0], [4]]}, "relevant of query 1 names row 4"),
        ({"seen": [[-1], []]}, "seen of query 0 names row -1"),
        ({"seen": [[], [3]], "relevant": [[0], [1, 3]]}, "row 3 is relevant to query 1 and seen"),
        ({"ks": [9]}, "ks: k = 9"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str) -> None:
    given = {"query": torch.ones(2, 2), "corpus": torch.ones(4, 2), "relevant": [[0], [1]], **changes}
    with pytest.raises(UserError, match=message):
        evaluate_vectors(**given)  # type: ignore[arg-type]


def test_it_is_part_of_the_package() -> None:
    assert dssm_lightning.evaluate_vectors is evaluate_vectors
