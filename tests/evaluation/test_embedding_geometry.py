"""Alignment and uniformity by their definitions, and what they say of a collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dssm_lightning.evaluation.embedding_geometry import (
    EmbeddingGeometry,
    alignment,
    effective_rank,
    mean_cosine,
    uniformity,
)
from dssm_lightning.utils.ragged import Ragged


def unit(rows: Tensor) -> list[list[float]]:
    return [(row / row.norm()).tolist() for row in rows]


def test_the_definitions_by_loops() -> None:
    a, b = torch.randn(7, 4), torch.randn(7, 4)
    pairs = [math.dist(x, y) ** 2 for x, y in zip(unit(a), unit(b), strict=True)]
    assert alignment(a, b) == pytest.approx(sum(pairs) / 7, abs=1e-5)
    points = unit(a)
    between = [math.dist(x, y) ** 2 for i, x in enumerate(points) for y in points[i + 1 :]]
    assert uniformity(a) == pytest.approx(math.log(sum(math.exp(-2 * d) for d in between) / len(between)), abs=1e-5)
    assert mean_cosine(a) == pytest.approx(1 - sum(between) / len(between) / 2, abs=1e-5)


def test_the_effective_rank_by_numpy() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 6))
    values = np.linalg.svd(rows / np.linalg.norm(rows, axis=1, keepdims=True), compute_uv=False)
    share = values / values.sum()
    assert effective_rank(torch.from_numpy(rows)) == pytest.approx(math.exp(-(share * np.log(share)).sum()), abs=1e-5)


def test_a_collapse_shows() -> None:
    spread, collapsed = torch.randn(200, 32), torch.ones(200, 32) + torch.randn(200, 32) / 100
    assert uniformity(spread) < -3 < -0.1 < uniformity(collapsed)
    assert effective_rank(spread) > 25
    assert effective_rank(collapsed) < 2
    assert mean_cosine(collapsed) > 0.99


def test_one_row_says_nothing() -> None:
    assert math.isnan(uniformity(torch.ones(1, 3)))
    assert math.isnan(mean_cosine(torch.ones(1, 3)))
    geometry = EmbeddingGeometry(torch.ones(1, 3), (3, 3))
    assert geometry.compute() == {}


def test_batches_give_what_all_queries_give_and_codes_do_not_count() -> None:
    corpus, query = torch.randn(30, 8), torch.randn(12, 8)
    relevant = Ragged.from_lengths(torch.arange(24), torch.full((12,), 2))
    whole, parts = EmbeddingGeometry(corpus, (5, 5)), EmbeddingGeometry(corpus, (5, 5))
    whole.add(query, relevant)
    for first in range(0, 12, 5):
        rows = slice(first, first + 5)
        count = len(query[rows])
        own = relevant.values[2 * first : 2 * first + 2 * count]
        parts.add(query[rows], Ragged.from_lengths(own, torch.full((count,), 2)))
    assert parts.compute() == pytest.approx(whole.compute(), abs=1e-9)
    expected = alignment(query[relevant.rows, :5], corpus[relevant.values, :5])
    assert whole.compute()["alignment"] == pytest.approx(expected, abs=1e-6)
    assert whole.compute()["candidate_uniformity"] == pytest.approx(uniformity(corpus[:, :5]), abs=1e-9)


def test_sides_of_other_widths_have_no_alignment() -> None:
    geometry = EmbeddingGeometry(torch.randn(4, 6), (3, 6))
    geometry.add(
        torch.randn(5, 3), Ragged.from_lengths(torch.arange(4).repeat(2)[:5], torch.ones(5, dtype=torch.int64))
    )
    assert set(geometry.compute()) == {"query_uniformity", "candidate_uniformity"}
