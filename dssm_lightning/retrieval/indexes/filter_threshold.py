"""Measure how few vectors a mask may leave before an approximate index loses recall under it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dssm_lightning.retrieval.indexes.group_search import search_rows
from dssm_lightning.retrieval.indexes.row_stores import FloatRows, Floats, Places

SHARES = (0.5, 0.2, 0.1, 0.05)
"""The shares of allowed vectors at which recall is measured."""
LEAST_RECALL, _K, _QUERIES = 0.99, 10, 64

SearchMasked = Callable[[Floats, int, Places], Places]
"""(Q, D), k and ascending allowed places -> (Q, k) places, −1 where less was found."""


def shares_that_keep_recall(vectors: Floats, search: SearchMasked) -> float:
    """Return the least of :data:`SHARES` down to which the recall of 10 is at least .99; 1.0 if it never is.

    Queries are mixtures of two vectors each. Several masks are measured for each share, and the worst recall counts:
    one of rows drawn at random, and three of the rows on one side of a plane, as where a filter goes with the direction
    of vectors. The graph of ``HNSW32`` over 20,000 clustered vectors found 1.00 of the best under a mask of the first
    kind with a share of .2, and .84 under one of the other kind.

    Args:
        vectors: (N, D) the vectors of the index.
        search: the index' own search under a mask.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
        >>> shares_that_keep_recall(vectors, lambda q, k, places: search_rows(FloatRows(vectors), q, k, places)[1])
        0.05
        >>> shares_that_keep_recall(vectors, lambda q, k, places: np.full((len(q), k), -1))
        1.0
    """
    rng, kept = np.random.default_rng(0), 1.0
    one, other = (vectors[rng.integers(len(vectors), size=_QUERIES)] for _ in range(2))
    queries = np.asarray(0.7 * one + 0.3 * other, np.float32)
    along = vectors @ one[:3].T
    for share in SHARES:
        number = int(share * len(vectors))
        if number < 2 * _K:
            break
        masks = [np.sort(rng.choice(len(vectors), number, replace=False))]
        masks += [np.sort(np.argpartition(each, number)[:number]) for each in along.T]
        if min(_recall(vectors, search, queries, places) for places in masks) < LEAST_RECALL:
            break
        kept = share
    return kept


def _recall(vectors: Floats, search: SearchMasked, queries: Floats, places: Places) -> float:
    expected = search_rows(FloatRows(vectors), queries, _K, places)[1]
    found = search(queries, _K, places)
    return float(np.mean((found[:, :, None] == expected[:, None, :]).any(1)))
