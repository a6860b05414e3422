"""Vectors for tests of indexes, and the search that is too simple to be wrong."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors, scaled to length 1, as float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, width: int = 16, queries: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A corpus (N, D) in clusters, and queries (Q, D) from the same clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, count // 100), width))
    points = centres[rng.integers(len(centres), size=count + queries)] + 0.7 * rng.normal(size=(count + queries, width))
    return unit(points[:count]), unit(points[count:])


def brute_force(
    vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows (Q, k) in float64: all products, sorted; of equal scores the lower row comes first."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    """The mean share of the expected rows (Q, k) that were found (Q, k)."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]))
