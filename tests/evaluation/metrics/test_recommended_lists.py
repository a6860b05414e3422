"""Coverage, popularity and the Gini coefficient by hand and against plain loops; ties at the cut."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.lists import ragged
from torch import Tensor

from dssm_lightning.evaluation.metrics import Recommended
from dssm_lightning.evaluation.metrics import recommended_lists as module
from dssm_lightning.evaluation.metrics.recommended_lists import gini, top_k_stable


def test_by_hand() -> None:
    recommended = Recommended([1, 2], torch.tensor([9, 4, 1, 0]))
    # seen: candidate 0 by the second query; lists: 0, 1 and 1, 3
    recommended.update(torch.tensor([[4.0, 3.0, 2.0, 1.0], [9.0, 3.0, 1.0, 2.0]]), ragged([[], [0]]))
    values = {name: float(value) for name, value in recommended.compute().items()}
    expected = {"coverage@1": 2 / 4, "popularity@1": (9 + 4) / 2, "coverage@2": 3 / 4, "popularity@2": (9 + 4 + 4) / 4}
    # counts 0 0 1 1 and 0 1 1 2: Σ (2 i − 5) x_i / (4 Σ x)
    expected |= {"gini@1": (1 + 3) / (4 * 2), "gini@2": (-1 + 1 + 3 * 2) / (4 * 4)}
    assert values == pytest.approx(expected)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("chunk", [1, 50, 1 << 24])
def test_lists_equal_a_naive_loop(monkeypatch: pytest.MonkeyPatch, levels: int | None, chunk: int) -> None:
    monkeypatch.setattr(module, "LIST_CHUNK", chunk)
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(12, 20, generator=generator)
    if levels is not None:
        scores = torch.randint(levels, scores.shape, generator=generator).float()
    popularity = torch.randint(30, (20,), generator=generator)
    seen = [torch.randperm(20, generator=generator)[: 6 * (row % 4)].tolist() for row in range(12)]  # some leave two
    recommended, ks = Recommended([1, 4, 10], popularity), [1, 4, 10]
    for part in (slice(0, 5), slice(5, 5), slice(5, 12)):
        recommended.update(scores[part], ragged(seen[part]))
    values = {name: float(value) for name, value in recommended.compute().items()}
    for k in ks:
        counts = [0] * 20
        for row in range(12):
            unseen = [c for c in range(20) if c not in seen[row]]
            for c in sorted(unseen, key=lambda c, row=row: (-float(scores[row, c]), c))[:k]:  # type: ignore[misc]  # the row is bound
                counts[c] += 1
        assert values[f"coverage@{k}"] == pytest.approx(sum(count > 0 for count in counts) / 20)
        liked = sum(count * int(popularity[c]) for c, count in enumerate(counts))
        assert values[f"popularity@{k}"] == pytest.approx(liked / sum(counts))
        differences = sum(abs(a - b) for a in counts for b in counts) / 20**2
        assert values[f"gini@{k}"] == pytest.approx(differences / (2 * sum(counts) / 20))


def test_gini_of_equal_counts_and_of_one_candidate() -> None:
    counts = torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 5.0, 0.0, 0.0]])
    assert gini(counts).tolist() == [0.0, 1 - 1 / 4]


@pytest.mark.parametrize("k", [1, 3, 7])
def test_of_equal_scores_the_lower_row_comes_first(k: int) -> None:
    scores: Tensor = torch.randint(3, (50, 7), generator=torch.Generator().manual_seed(0)).float()
    expected = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    assert torch.equal(top_k_stable(scores, k), expected)
    assert top_k_stable(torch.zeros(1, 7), k).tolist() == [list(range(k))]


def test_nothing_recommended_is_nan() -> None:
    recommended = Recommended([1], torch.ones(3))
    recommended.update(torch.zeros(0, 1), ragged([]))
    assert all(math.isnan(value) for value in recommended.compute().values())
    assert Recommended([], torch.ones(3)).counts.shape == (0, 3)
