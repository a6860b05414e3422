"""MetricSlices by hand and against plain loops; other candidates stay as rivals; empty slices have no metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.lists import ragged
from sklearn.metrics import roc_auc_score
from torch import Tensor

from dssm_lightning.evaluation.metrics import (
    MAP,
    MRR,
    NDCG,
    HitRate,
    MetricSlices,
    QueryAUROC,
    RankMetric,
    Recall,
    rank,
)
from dssm_lightning.evaluation.metrics.slices import SLICES, popularity_bands

N = 40


def random_case(levels: int | None = None) -> tuple[Tensor, list[list[int]], list[list[int]], Tensor]:
    """Scores (Q, N), relevant, seen (none for some queries), popularity (N,) with zeros."""
    generator = torch.Generator().manual_seed(2)
    shape = (25, N)
    scores = torch.randn(shape, generator=generator) if levels is None else torch.randint(levels, shape).float()
    orders = [torch.randperm(N, generator=generator).tolist() for _ in range(25)]
    relevant = [order[: 1 + row % 7] for row, order in enumerate(orders)]
    seen = [order[10 : 10 + 5 * (row % 4)] for row, order in enumerate(orders)]
    return scores, relevant, seen, torch.randint(6, (N,), generator=generator) ** 2


def naive_bands(popularity: list[int]) -> list[str]:
    order = sorted(range(len(popularity)), key=lambda row: (-popularity[row], row))
    bands, held, total = [""] * len(popularity), 0, sum(popularity)
    for row in order:
        bands[row] = "head" if held < total / 3 else "middle" if held < total * 2 / 3 else "tail"
        held += popularity[row]
    return bands


def kept_of(name: str, relevant: list[list[int]], seen: list[list[int]], popularity: Tensor) -> list[list[int]]:
    """The relevant candidates that a slice keeps."""
    liked, bands = popularity.tolist(), naive_bands(popularity.tolist())
    if name == "cold_queries":
        return [[] if liked_before else row for row, liked_before in zip(relevant, seen, strict=True)]
    if name == "cold_candidates":
        return [[c for c in row if liked[c] == 0] for row in relevant]
    return [[c for c in row if bands[c] == name] for row in relevant]


def found(scores: Tensor, relevant: list[list[int]], seen: list[list[int]], popularity: Tensor) -> dict[str, float]:
    slices = MetricSlices([1, 10, 20], popularity)
    for part in (slice(0, 9), slice(9, 25)):
        wanted, known = ragged(relevant[part]), ragged(seen[part])
        slices.update(rank(scores[part], wanted, known), wanted, known.lengths, torch.arange(25)[part])
    return {name: float(value) for name, value in slices.compute().items()}


def test_bands_by_hand() -> None:
    # 12 training positives; sorted 5, 3, 2, 1, 1, 0: before each 0, 5, 8, 10, 11, 12 of them; thirds end at 4 and 8
    popularity = torch.tensor([1, 3, 0, 5, 2, 1])
    assert popularity_bands(popularity).tolist() == [2, 1, 2, 0, 2, 2]
    # equally popular: lower corpus rows first, as many in each
    assert popularity_bands(torch.full((6,), 4)).tolist() == [0, 0, 1, 1, 2, 2]
    assert popularity_bands(torch.zeros(3, dtype=torch.int64)).tolist() == [2, 2, 2]


def test_bands_equal_a_naive_loop() -> None:
    for seed in range(20):
        popularity = torch.randint(9, (13,), generator=torch.Generator().manual_seed(seed))
        names = [SLICES[2 + band] for band in popularity_bands(popularity).tolist()]
        assert names == naive_bands(popularity.tolist())


@pytest.mark.parametrize("name", SLICES)
def test_values_equal_a_naive_loop(name: str) -> None:
    scores, relevant, seen, popularity = random_case()
    kept = kept_of(name, relevant, seen, popularity)
    expected: dict[str, list[float]] = {"hit_rate@10": [], "recall@10": [], "ndcg@10": [], "mrr": [], "query_auroc": []}
    for row, wanted in enumerate(kept):
        if not wanted:
            continue
        ranked = [c for c in scores[row].argsort(descending=True).tolist() if c not in seen[row]]  # rivals included
        places = [ranked.index(c) + 1 for c in wanted]
        gain = sum(1 / math.log2(place + 1) for place in places if place <= 10)
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(10, len(wanted)) + 1))
        expected["hit_rate@10"].append(float(min(places) <= 10))
        expected["recall@10"].append(sum(place <= 10 for place in places) / len(wanted))
        expected["ndcg@10"].append(gain / ideal)
        expected["mrr"].append(1 / min(places))
        labels = np.array([c in wanted for c in ranked])
        expected["query_auroc"].append(float(roc_auc_score(labels, scores[row, ranked].numpy())))
    values = found(scores, relevant, seen, popularity)
    assert len(expected["mrr"]) > 3
    assert values[f"{name}/queries"] == len(expected["mrr"])
    for metric, each in expected.items():
        assert values[f"{name}/{metric}"] == pytest.approx(np.mean(each), abs=1e-12), metric
    assert f"{name}/recall@100" not in values  # a cut that the evaluation does not have


@pytest.mark.parametrize("metric", [HitRate(5), Recall(5), NDCG(5), MAP(5), MRR(), QueryAUROC()], ids=str)
def test_a_slice_equals_a_ranking_with_fewer_relevant_candidates(metric: RankMetric) -> None:
    scores, relevant, seen, popularity = random_case(levels=4)
    kept = kept_of("tail", relevant, seen, popularity)
    wanted, known = ragged(relevant), ragged(seen)
    chosen = torch.tensor([c in row for row, full in zip(kept, relevant, strict=True) for c in full])
    ours, alone = rank(scores, wanted, known).only(chosen), rank(scores, ragged(kept), known)
    assert torch.equal(metric.counts(ours), metric.counts(alone))
    counts = metric.counts(ours)
    torch.testing.assert_close(metric.value(ours)[counts], metric.value(alone)[counts], rtol=0, atol=1e-12)


def test_a_slice_without_a_query_has_no_metrics() -> None:
    scores, relevant, _, _ = random_case()
    values = found(scores, relevant, [[(row[0] + 1) % N] if len(row) == 1 else [] for row in relevant], torch.ones(N))
    assert not [name for name in values if name.startswith("cold_candidates")]
    all_known = [[next(c for c in range(N) if c not in row)] for row in relevant]
    values = found(scores, relevant, all_known, torch.zeros(N))
    assert {name.partition("/")[0] for name in values} == {"cold_candidates", "tail"}
    assert values["tail/queries"] == 25
    assert not any(math.isnan(value) for value in values.values())


def test_groups_of_queries() -> None:
    """Each group's value is that of an evaluation of its queries alone."""
    scores, relevant, seen, popularity = random_case()
    table = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:25]  # the 25 queries' rows among 40
    english = torch.zeros(40, dtype=torch.bool)
    english[table[::3]] = True
    slices = MetricSlices(
        [10], popularity, query_groups={"lang=en": english, "lang=xx": torch.zeros(40, dtype=torch.bool)}
    )
    wanted, known = ragged(relevant), ragged(seen)
    slices.update(rank(scores, wanted, known), wanted, known.lengths, table)
    alone = [[row for at, row in enumerate(side) if at % 3 == 0] for side in (relevant, seen)]
    expected = MRR().value(rank(scores[::3], ragged(alone[0]), ragged(alone[1])))
    values = slices.compute()
    assert values["lang=en/queries"] == 9
    assert values["lang=en/mrr"] == pytest.approx(float(expected.mean()))
    assert "lang=xx/mrr" not in values
