"""Metrics against all permutations of ties, torchmetrics, scikit-learn, and the arithmetic of chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional import retrieval as reference

from dssm_lightning.evaluation.metrics import (
    MAP,
    MRR,
    NDCG,
    CutMetric,
    HitRate,
    Precision,
    QueryAUROC,
    RankMetric,
    Ranks,
    Recall,
    rank,
    rank_both,
    ties,
)
from dssm_lightning.utils.ragged import Ragged

Definition = Callable[[list[int], int], float]  # relevances in ranked order, k


def average_precision(found: list[int], k: int) -> float:
    return sum(sum(found[: i + 1]) / (i + 1) for i in range(min(k, len(found))) if found[i]) / sum(found)


def discounted_gain(found: list[int], k: int) -> float:
    def gain(row: list[int]) -> float:
        return sum(value / math.log2(i + 2) for i, value in enumerate(row[:k]))

    return gain(found) / gain(sorted(found, reverse=True))


def auroc(found: list[int], k: int) -> float:
    pairs = [(i, j) for i, a in enumerate(found) for j, b in enumerate(found) if a and not b]
    return sum(i < j for i, j in pairs) / len(pairs)


DEFINITIONS: dict[str, tuple[Callable[[int], RankMetric], Definition]] = {
    "hit_rate": (HitRate, lambda found, k: float(any(found[:k]))),
    "recall": (Recall, lambda found, k: sum(found[:k]) / sum(found)),
    "precision": (Precision, lambda found, k: sum(found[:k]) / k),
    "ndcg": (NDCG, discounted_gain),
    "map": (MAP, average_precision),
    "mrr": (lambda k: MRR(), lambda found, k: 1.0 / (found.index(1) + 1)),
    "query_auroc": (lambda k: QueryAUROC(), auroc),
}


def table(relevance: Tensor) -> Ragged:
    return Ragged.from_lengths(relevance.nonzero()[:, 1], relevance.sum(1))


def mean(metric: RankMetric, found: Ranks) -> float:
    metric.update(found)
    return float(metric.compute())


@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_ties_give_the_mean_over_all_their_orders(name: str) -> None:
    build, definition = DEFINITIONS[name]
    generator = torch.Generator().manual_seed(3)
    for case in range(40):
        num_candidates = 3 + case % 4
        scores = torch.randint(1 + case % 3, (1, num_candidates), generator=generator)
        relevance = torch.zeros(1, num_candidates, dtype=torch.int64)
        relevance[0, torch.randperm(num_candidates, generator=generator)[: 1 + case % (num_candidates - 1)]] = 1
        found = rank(scores.float(), table(relevance))
        values, labels = scores[0].tolist(), relevance[0].tolist()
        orders = [
            [labels[i] for i in order]
            for order in permutations(range(num_candidates))
            if all(values[a] >= values[b] for a, b in pairwise(order))
        ]
        for k in (1, 2, 3, 6, 9):
            expected = sum(definition(order, k) for order in orders) / len(orders)
            assert mean(build(k), found) == pytest.approx(expected, abs=1e-12), (values, labels, k)


@pytest.fixture(scope="module")
def untied() -> tuple[Tensor, Tensor]:
    """Positive scores (torchmetrics counts no other), all different; relevance with 1 … 12 relevant of 40."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(30, 40, generator=generator) + 0.1
    relevance = torch.zeros(30, 40, dtype=torch.int64)
    for row in range(30):
        relevance[row, torch.randperm(40, generator=generator)[: 1 + row % 12]] = 1
    return scores, relevance


@pytest.mark.parametrize("k", [1, 5, 12, 40])
def test_equals_torchmetrics_without_ties(untied: tuple[Tensor, Tensor], k: int) -> None:
    scores, relevance = untied
    found = rank(scores, table(relevance))
    references: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "hit_rate": lambda s, t: reference.retrieval_hit_rate(s, t, top_k=k),
        "recall": lambda s, t: reference.retrieval_recall(s, t, top_k=k),
        "precision": lambda s, t: reference.retrieval_precision(s, t, top_k=k),
        "ndcg": lambda s, t: reference.retrieval_normalized_dcg(s, t, top_k=k),
        "mrr": reference.retrieval_reciprocal_rank,
        "query_auroc": reference.retrieval_auroc,
    }
    if k == scores.shape[1]:  # their MAP@k divides by the hits found
        references["map"] = reference.retrieval_average_precision
    for name, function in references.items():
        expected = torch.stack([function(s, t) for s, t in zip(scores, relevance, strict=True)]).mean()
        assert mean(DEFINITIONS[name][0](k), found) == pytest.approx(float(expected), abs=1e-6), name


@pytest.mark.parametrize("levels", [None, 6])
def test_equals_scikit_learn(untied: tuple[Tensor, Tensor], levels: int | None) -> None:
    scores, relevance = untied
    if levels is not None:  # scikit-learn's NDCG and AUROC take ties as we do
        scores = (scores * levels).round()
    found = rank(scores, table(relevance))
    s, t = scores.numpy(), relevance.numpy()
    for k in (1, 7, 40):
        assert mean(NDCG(k), found) == pytest.approx(ndcg_score(t, s, k=k), abs=1e-9)
    areas = [roc_auc_score(a, b) for a, b in zip(t, s, strict=True)]
    assert mean(QueryAUROC(), found) == pytest.approx(np.mean(areas), abs=1e-9)
    if levels is None:
        precisions = [average_precision_score(a, b) for a, b in zip(t, s, strict=True)]
        assert mean(MAP(40), found) == pytest.approx(np.mean(precisions), abs=1e-9)


def test_map_divides_by_all_relevant_candidates() -> None:
    # places 1, 3 and 5 of 5; cut at 3: (1/1 + 2/3) / 3, not / 2
    found = rank(torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]), table(torch.tensor([[1, 0, 1, 0, 1]])))
    assert mean(MAP(3), found) == pytest.approx((1 + 2 / 3) / 3, abs=1e-12)
    assert mean(Precision(10), found) == pytest.approx(3 / 10, abs=1e-12)  # five candidates, but divided by ten


@pytest.mark.parametrize(("n", "r"), [(50, 1), (50, 7), (2000, 60), (5, 5)])
@pytest.mark.parametrize("chunk", [1 << 20, 17])
def test_a_constant_model_scores_chance(monkeypatch: pytest.MonkeyPatch, n: int, r: int, chunk: int) -> None:
    monkeypatch.setattr(ties, "TERM_CHUNK", chunk)
    relevance = torch.zeros(3, n, dtype=torch.int64)
    relevance[:, torch.randperm(n, generator=torch.Generator().manual_seed(0))[:r]] = 1
    found = rank(torch.full((3, n), 0.25), table(relevance))
    first = sum(math.comb(n - j, r - 1) / math.comb(n, r) / j for j in range(1, n - r + 2))
    assert mean(MRR(), found) == pytest.approx(first, abs=1e-11)
    for k in (1, 5, 10):
        places = range(1, min(k, n) + 1)
        ideal = sum(1 / math.log2(i + 1) for i in range(1, min(k, r) + 1))
        assert mean(HitRate(k), found) == pytest.approx(1 - math.comb(n - r, k) / math.comb(n, k) if k <= n else 1)
        assert mean(Recall(k), found) == pytest.approx(min(k / n, 1))
        assert mean(Precision(k), found) == pytest.approx(min(k, n) * r / n / k)
        assert mean(NDCG(k), found) == pytest.approx(r / n * sum(1 / math.log2(i + 1) for i in places) / ideal)
        assert mean(MAP(k), found) == pytest.approx(sum((1 + (r - 1) * (i - 1) / (n - 1)) / i for i in places) / n)
    assert math.isnan(mean(QueryAUROC(), found)) if n == r else mean(QueryAUROC(), found) == 0.5


def test_random_scores_give_an_auroc_of_one_half() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(400, 300, generator=generator)
    relevance = (torch.rand(400, 300, generator=generator) < 0.03).long()
    assert mean(QueryAUROC(), rank(scores, table(relevance))) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_batches_add_up_and_queries_without_a_relevant_candidate_are_left_out(
    untied: tuple[Tensor, Tensor], name: str
) -> None:
    scores, relevance = untied
    build = DEFINITIONS[name][0]
    whole, parts = build(5), build(5)
    whole.update(rank(scores, table(relevance)))
    for rows in (slice(0, 7), slice(7, 8), slice(8, 30)):
        parts.update(rank(scores[rows], table(relevance[rows])))
    parts.update(rank(scores[:4], table(torch.zeros_like(relevance[:4]))))
    assert float(parts.compute()) == pytest.approx(float(whole.compute()), abs=1e-14)
    assert whole.count.dtype == torch.int64
    assert whole.total.dtype == torch.float64


def test_a_metric_of_no_query_is_no_number() -> None:
    metric = MRR()
    metric.update(rank(torch.zeros(2, 3), table(torch.zeros(2, 3, dtype=torch.int64))))
    assert math.isnan(float(metric.compute()))


@pytest.mark.parametrize("metric", [HitRate, Recall, Precision, NDCG, MAP])
def test_a_cut_off_below_1_is_refused(metric: type[CutMetric]) -> None:
    with pytest.raises(ValueError, match=f"{metric.__name__}: k is 0"):
        metric(0)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_graded_ndcg_is_scikit_learns(k: int) -> None:
    generator = torch.Generator().manual_seed(8)
    scores = torch.randn(25, 30, generator=generator)
    grades = torch.randint(0, 4, scores.shape, generator=generator) * (
        torch.rand(scores.shape, generator=generator) < 0.3
    )
    grades[:, 0] = 2  # every query has a relevant candidate
    wanted = table((grades > 0).long())
    found = rank_both(scores, wanted, None, grades[wanted.rows, wanted.values].float())[1]
    expected = ndcg_score(grades.numpy(), scores.numpy(), k=k)
    assert mean(NDCG(k), found) == pytest.approx(expected, abs=1e-9)
    alike = rank_both(scores, wanted, None, torch.full((len(wanted.values),), 3.0))[1]
    assert mean(NDCG(k), alike) == pytest.approx(mean(NDCG(k), rank(scores, wanted)), abs=1e-12)


def test_graded_ndcg_with_ties_is_the_mean_over_all_their_orders() -> None:
    scores, grades = [2.0, 1.0, 1.0, 1.0, 0.0], [0, 3, 0, 1, 2]
    wanted = table((torch.tensor([grades]) > 0).long())
    gains = torch.tensor(grades)[wanted.values].float()
    orders = [order for order in permutations(range(5)) if all(scores[a] >= scores[b] for a, b in pairwise(order))]
    for k in range(1, 6):
        expected = np.mean([discounted_gain([grades[i] for i in order], k) for order in orders])
        found = rank_both(torch.tensor([scores]), wanted, None, gains)[1]
        assert mean(NDCG(k), found) == pytest.approx(expected, abs=1e-12)


def test_grades_stay_with_their_candidates_in_a_slice() -> None:
    scores, wanted = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]), table(torch.ones(2, 3, dtype=torch.int64))
    found = rank_both(scores, wanted, None, torch.tensor([1.0, 2, 3, 4, 5, 6]))[1]
    part = found.only(torch.tensor([True, False, True, False, True, False]))
    assert part.gain is not None
    assert part.gain.tolist() == [1.0, 3.0, 5.0]
    expected = [(1 + 3 / 2) / (3 + 1 / math.log2(3)), 1 / math.log2(3)]
    assert NDCG(3).value(part).tolist() == pytest.approx(expected)
