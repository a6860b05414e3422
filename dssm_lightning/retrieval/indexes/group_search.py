"""Exact top-k by inner product in numpy: products in blocks that stay in the processor's cache.

A first pass keeps only the greatest score of each group of 16 or 32 rows, and of each 256 rows. The k best rows all lie
in groups whose greatest score is not below the k-th greatest of the wider groups: there are few more than k of them. A
second pass scores the rows of these groups again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.retrieval.indexes.row_stores import Floats, Places, RowStore

_WIDER = 256  # rows of a wider group
_SMALL, _LARGE, _MANY = 16, 32, 1 << 19  # rows of a group; of one in a corpus of many rows
_QUERIES, _SCORES, _MOST_ROWS = 256, 1 << 19, 1 << 14  # scored at once: 2 MiB of scores
_NEAR_TIE = 1e-6  # relative: both passes round differently


def search_rows(store: RowStore, queries: Floats, k: int, places: Places | None = None) -> tuple[Floats, Places]:
    """Return the greatest inner products (Q, k), descending, and (Q, k) their places in the store.

    Of equal scores the lower place comes first. The matrix of all scores is never held in memory.

    Args:
        store: N vectors of width D.
        queries: (Q, D).
        k: from 1 to the number of places.
        places: ascending places that are searched; None searches all.

    Example:
        >>> from dssm_lightning.retrieval.indexes.row_stores import FloatRows
        >>> corpus = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
        >>> search_rows(FloatRows(corpus), np.array([[0, 2]], dtype=np.float32), k=2)[1].tolist()
        [[1, 2]]
    """
    count = len(store) if places is None else len(places)
    search = _search_all_scores if count < 2 * k * _SMALL else _search_groups
    found_scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    block = _QUERIES if search is _search_groups else max(1, min(_QUERIES, 8 * _SCORES // count))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        found_scores[part], found[part] = search(store, queries[part], k, places)
    return found_scores, found


def score_again(store: RowStore, queries: Floats, found: Places, places: Places | None = None) -> tuple[Floats, Places]:
    """Return the inner products (Q, k) of rows that an approximate index found, descending, and (Q, k) the rows.

    A query of which the index found too little, so that −1 is among its rows, is searched exactly.

    Args:
        store: N vectors of width D.
        queries: (Q, D).
        found: (Q, k) places, each once.
        places: ascending places that may be found; None = all.

    Example:
        >>> from dssm_lightning.retrieval.indexes.row_stores import FloatRows
        >>> corpus = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
        >>> score_again(FloatRows(corpus), np.array([[0, 2]], dtype=np.float32), np.array([[2, 1]]))[1].tolist()
        [[1, 2]]
    """
    short = (found < 0).any(1)
    if short.any():
        found = found.copy()
        found[short] = search_rows(store, queries[short], found.shape[1], places)[1]
    own = store.take(found.ravel()).reshape(*found.shape, -1)
    scores = np.matmul(own, queries[:, :, None])[:, :, 0]
    order = np.lexsort((found, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)


def best_places(scores: Floats, k: int) -> Places:
    """Return the places (k,) of the greatest scores (n,), descending; of equal scores the lower place comes first.

    Example:
        >>> best_places(np.array([1, 3, 2, 3], dtype=np.float32), 3).tolist()
        [1, 3, 2]
    """
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= kth)
    else:
        kept = np.arange(len(scores))
    order: Places = kept[np.argsort(-scores[kept], kind="stable")[:k]]
    return order


def _search_all_scores(store: RowStore, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    """Search where k is a large part of the rows: hold all scores (Q, N) of a block of queries."""
    count = len(store) if places is None else len(places)
    scores = np.empty((len(queries), count), np.float32)
    for start in range(0, count, _MOST_ROWS):
        tile = _tile(store, places, start, min(start + _MOST_ROWS, count))
        np.matmul(queries, tile.T, out=scores[:, start : start + len(tile)])
    kth = np.partition(scores, count - k, axis=1)[:, count - k, None]
    query, place = np.nonzero(scores >= kth)  # at least k for each query, more with ties at the end
    best = scores[query, place]
    order = np.lexsort((-best, query))  # stable: places ascend within equal scores
    starts = np.searchsorted(query, np.arange(len(queries)))
    chosen = order[starts[:, None] + np.arange(k)]
    found = place[chosen]
    return best[chosen], found if places is None else places[found]


def _search_groups(store: RowStore, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    count = len(store) if places is None else len(places)
    size = _SMALL if count < _MANY else _LARGE
    groups, wider = _group_maxima(store, queries, places, size)
    if len(wider) < 2 * k:
        wider = groups
    query, group = _groups_to_search(groups, wider, k)
    ends = np.cumsum(np.bincount(query, minlength=len(queries)))
    scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for row, own in enumerate(np.split(group, ends[:-1])):
        if len(own) > 8 * k + 64:  # very many near-ties
            best, inside = _search_one(store, queries[row], k, places)
        else:
            inside = (own[:, None] * size + np.arange(size)).ravel()
            inside = inside[inside < count]
            own_scores = store.take(inside if places is None else places[inside]) @ queries[row]
            chosen = best_places(own_scores, k)
            best, inside = own_scores[chosen], inside[chosen]
        scores[row], found[row] = best, inside if places is None else places[inside]
    return scores, found


def _search_one(store: RowStore, query: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    count = len(store) if places is None else len(places)
    starts = range(0, count, _MOST_ROWS)
    tiles = (_tile(store, places, start, min(start + _MOST_ROWS, count)) for start in starts)
    scores = np.concatenate([tile @ query for tile in tiles])
    best = best_places(scores, k)
    return scores[best], best


def _group_maxima(store: RowStore, queries: Floats, places: Places | None, size: int) -> tuple[Floats, Floats]:
    """Return the greatest scores of each group of ``size`` rows (G, Q), and of each 256 rows (⌈N / 256⌉, Q)."""
    count, Q = len(store) if places is None else len(places), len(queries)
    rows = max(1, min(_MOST_ROWS, _SCORES // Q) // _WIDER) * _WIDER
    units = -(-count // _WIDER)
    inside = _WIDER // size  # groups of a wider group
    groups, wider = np.empty((units * inside, Q), np.float32), np.empty((units, Q), np.float32)
    columns, scores = np.ascontiguousarray(queries.T), np.empty((rows, Q), np.float32)
    for start in range(0, count, rows):
        tile = _tile(store, places, start, min(start + rows, count))
        first, last = start // _WIDER, start // _WIDER - (-len(tile) // _WIDER)
        np.matmul(tile, columns, out=scores[: len(tile)])
        scores[len(tile) : (last - first) * _WIDER] = -np.inf
        own = groups[first * inside : last * inside]
        np.max(scores[: (last - first) * _WIDER].reshape(-1, size, Q), axis=1, out=own)
        np.max(own.reshape(-1, inside, Q), axis=1, out=wider[first:last])
    return groups, wider


def _groups_to_search(groups: Floats, wider: Floats, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of a query and a group that may hold one of its k best rows, in ascending order."""
    bound = np.partition(np.ascontiguousarray(wider.T), len(wider) - k, axis=1)[:, len(wider) - k]
    bound = bound - _NEAR_TIE * np.abs(bound)
    place, query = np.nonzero(wider >= bound)
    inside = len(groups) // len(wider)
    pair, offset = np.nonzero(groups.reshape(-1, inside, groups.shape[1])[place, :, query] >= bound[query, None])
    query, group = query[pair], place[pair] * inside + offset
    order = np.lexsort((group, query))
    return query[order], group[order]


def _tile(store: RowStore, places: Places | None, start: int, stop: int) -> Floats:
    return store.tile(start, stop) if places is None else store.take(places[start:stop])
