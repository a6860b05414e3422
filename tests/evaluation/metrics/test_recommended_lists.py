"""What the lists of all queries are like, by hand and against plain loops; ties at the cut."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from helpers.lists import ragged
from torch import Tensor

from dssm_lightning.evaluation.metrics import Recommended
from dssm_lightning.evaluation.metrics import recommended_lists as module
from dssm_lightning.evaluation.metrics.recommended_lists import gini
from dssm_lightning.evaluation.metrics.top_columns import top_k_stable


def test_by_hand() -> None:
    recommended = Recommended([1, 2], torch.tensor([9, 4, 1, 0]))
    # seen: candidate 0 by the second query; lists: 0, 1 and 1, 3; by popularity they would be 0, 1 and 1, 2
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0], [9.0, 3.0, 1.0, 2.0]])
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 4.0]])
    recommended.embeddings = embeddings
    recommended.update(scores, ragged([[], [0]]), ragged([[1], [1, 3]]))
    values = {name: float(value) for name, value in recommended.compute().items()}
    expected = {"coverage@1": 2 / 4, "popularity@1": (9 + 4) / 2, "coverage@2": 3 / 4, "popularity@2": (9 + 4 + 4) / 4}
    # counts 0 0 1 1 and 0 1 1 2: Σ (2 i − 5) x_i / (4 Σ x)
    expected |= {"gini@1": (1 + 3) / (4 * 2), "gini@2": (-1 + 1 + 3 * 2) / (4 * 4)}
    # of the relevant candidates 1, 1 and 3 only the last one is unexpected; in lists of one 1 of the second is expected
    expected |= {"serendipity@1": 0.0, "serendipity@2": 1 / 4}
    # p = 10/18, 5/18, 2/18, 1/18
    bits = {0: math.log2(18 / 10), 1: math.log2(18 / 5), 3: math.log2(18)}
    expected |= {"novelty@1": (bits[0] + bits[1]) / 2, "novelty@2": (bits[0] + 2 * bits[1] + bits[3]) / 4}
    expected |= {"diversity@2": ((1 - 0) + (1 - 4 / 5)) / 2}
    assert values == pytest.approx(expected)


def best_of(candidates: list[int], scores: Tensor, k: int) -> list[int]:
    """The k candidates of the greatest scores, of equal scores the lower ones."""
    return sorted(candidates, key=lambda c: (-float(scores[c]), c))[:k]


def mean_distance(vectors: Tensor) -> float:
    """Mean of 1 − cos over the pairs of two vectors; the cosine of a vector of zeros is 0."""
    distances = [1 - float(F.cosine_similarity(a, b, dim=0)) for a, b in combinations(vectors.double(), 2)]
    return sum(distances) / len(distances)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("chunk", [1, 50, 1 << 24])
def test_lists_equal_a_naive_loop(monkeypatch: pytest.MonkeyPatch, levels: int | None, chunk: int) -> None:
    monkeypatch.setattr(module, "LIST_CHUNK", chunk)
    monkeypatch.setattr(module, "DISTANCE_CHUNK", chunk)
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(12, 20, generator=generator)
    if levels is not None:
        scores = torch.randint(levels, scores.shape, generator=generator).float()
    popularity = torch.randint(30, (20,), generator=generator).sub(9).clamp(min=0)  # some without a training positive
    seen = [torch.randperm(20, generator=generator)[: 6 * (row % 4)].tolist() for row in range(12)]  # some leave two
    unseen = [[c for c in range(20) if c not in seen[row]] for row in range(12)]
    relevant = [[c for c in unseen[row] if (c + row) % 3 == 0] for row in range(12)]
    embeddings = torch.randn(20, 5, generator=generator)
    embeddings[7] = 0.0
    recommended, ks = Recommended([1, 4, 10], popularity), [1, 4, 10]
    recommended.embeddings = embeddings
    for part in (slice(0, 5), slice(5, 5), slice(5, 12)):
        recommended.update(scores[part], ragged(seen[part]), ragged(relevant[part]))
    values = {name: float(value) for name, value in recommended.compute().items()}
    for k in ks:
        lists = [best_of(unseen[row], scores[row], k) for row in range(12)]
        counts = [sum(c in found for found in lists) for c in range(20)]
        by_popularity = [[c for c in best_of(unseen[row], popularity, k) if popularity[c] > 0] for row in range(12)]
        hits = sum(c in relevant[row] and c not in by_popularity[row] for row in range(12) for c in lists[row])
        assert values[f"serendipity@{k}"] == hits / sum(counts)
        probability = (popularity + 1) / (popularity.sum() + 20)
        bits = sum(-math.log2(probability[c]) for found in lists for c in found)
        assert values[f"novelty@{k}"] == pytest.approx(bits / sum(counts))
        spreads = [mean_distance(embeddings[found]) for found in lists if len(found) > 1]
        assert (f"diversity@{k}" in values) == (k > 1)
        if k > 1:
            assert values[f"diversity@{k}"] == pytest.approx(sum(spreads) / len(spreads))
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


@pytest.mark.parametrize("values", [2, 20, 300, 10**6])
def test_ties_that_begin_late_are_found_too(values: int) -> None:
    generator = torch.Generator().manual_seed(values)
    scores: Tensor = torch.randint(values, (40, 900), generator=generator).float()
    scores[:20, :400] = -torch.inf  # as of seen candidates
    scores[5, :] = -torch.inf
    for k in (1, 10, 100):  # some rows hold enough equal scores among their first columns, others do not
        expected = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        assert torch.equal(top_k_stable(scores, k), expected)


def test_nothing_recommended_is_nan() -> None:
    recommended = Recommended([1], torch.ones(3))
    recommended.update(torch.zeros(0, 1), ragged([]))
    assert all(math.isnan(value) for value in recommended.compute().values())
    assert Recommended([], torch.ones(3)).counts.shape == (0, 3)


def test_in_the_lists_by_popularity_nothing_is_a_surprise() -> None:
    popularity, generator = torch.tensor([3, 9, 0, 4, 9, 1]), torch.Generator().manual_seed(0)
    seen = ragged([torch.randperm(6, generator=generator)[: row % 3].tolist() for row in range(8)])
    every = ragged(
        [[c for c in range(6) if c not in seen.values[seen.offsets[r] : seen.offsets[r + 1]]] for r in range(8)]
    )
    recommended = Recommended([1, 2, 3], popularity)
    recommended.update(popularity.float().repeat(8, 1), seen, every)
    values = recommended.compute()
    assert [float(values[f"serendipity@{k}"]) for k in (1, 2, 3)] == [0.0, 0.0, 0.0]
    assert not [name for name in values if name.startswith("diversity")]  # nothing measures a distance


def test_a_list_of_equal_candidates_has_no_diversity_and_of_opposite_ones_the_most() -> None:
    for embeddings, expected in ((torch.ones(2, 3), 0.0), (torch.tensor([[1.0, 0.0], [-4.0, 0.0]]), 2.0)):
        recommended = Recommended([2], torch.ones(2))
        recommended.embeddings = embeddings
        recommended.update(torch.zeros(1, 2), ragged([[]]))
        assert float(recommended.compute()["diversity@2"]) == pytest.approx(expected, abs=1e-12)
        recommended.reset()
        assert recommended.embeddings is None
