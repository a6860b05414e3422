"""Exact top-k by inner product in numpy: products in blocks of a size at which they are fast.

BLAS multiplies queries with vectors. What may be among the k best is kept by a bound: of any k groups of vectors, each
holds one that scores at least as high as the least of the groups' greatest scores. What is kept is scored again, each
vector by itself: so a score depends neither on the other queries, nor on the place of a vector, nor on the index.

- A small corpus, or few queries: the scores of a block of queries are held.
- Else only the greatest score of each 16 vectors is held, and of each 256.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from dssm_lightning.retrieval.indexes.row_stores import Floats, Places, RowStore
from dssm_lightning.utils.errors import UserError

_GROUP, _WIDER = 16, 256  # vectors of a group, and of a wider one
_QUERIES, _SCORES = 512, 1 << 19  # of a product where scores are not held: 2 MiB
_HELD, _FEW = 1 << 22, 4  # scores that are held: 16 MiB; so few queries are always held
_WORTHWHILE = 64  # queries whose scores must fit into what is held
_ROWS = 1 << 14  # vectors read at once
_MOST_GROUPS = 4096  # enough for a bound
_NEAR_TIE = 2e-6  # relative: BLAS rounds differently


def search_rows(store: RowStore, queries: Floats, k: int, places: Places | None = None) -> tuple[Floats, Places]:
    """Return the greatest inner products (Q, k), descending, and (Q, k) their places in the store.

    Of equal scores the lower place comes first. The matrix of all scores is never held in memory.

    Args:
        store: N vectors of width D.
        queries: (Q, D).
        k: from 1 to the number of places.
        places: ascending places that are searched; None searches all.

    Raises:
        UserError: a score is not finite.

    Example:
        >>> from dssm_lightning.retrieval.indexes.row_stores import FloatRows
        >>> corpus = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
        >>> search_rows(FloatRows(corpus), np.array([[0, 2]], dtype=np.float32), k=2)[1].tolist()
        [[1, 2]]
    """
    count = len(store) if places is None else len(places)
    if len(queries) <= _FEW:
        return _search_few(store, queries, k, places)
    if count * _WORTHWHILE <= _HELD or count < 2 * k * _GROUP:
        search, block = _search_held, max(1, min(_QUERIES, _HELD // count))
    else:
        search, block = _search_groups, _QUERIES
    parts = [search(store, queries[start : start + block], k, places) for start in range(0, len(queries), block)]
    scores, found = zip(*parts, strict=True)
    return np.concatenate(scores), np.concatenate(found)


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
    scores = np.stack([_products(store, own, query) for own, query in zip(found, queries, strict=True)])
    order = np.lexsort((found, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(found, order, 1)


def best_of(store: RowStore, query: Floats, candidates: Places, k: int) -> tuple[Floats, Places]:
    """Return the greatest inner products (k,) of a query (D,) with some vectors, descending, and (k,) their places.

    Args:
        store: N vectors of width D.
        query: (D,).
        candidates: at least k places, ascending.
        k: how many are returned.

    Example:
        >>> from dssm_lightning.retrieval.indexes.row_stores import FloatRows
        >>> corpus = FloatRows(np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32))
        >>> best_of(corpus, np.array([0, 2], dtype=np.float32), np.array([0, 2]), k=1)[1].tolist()
        [2]
    """
    rows = store.take(candidates)
    near = _near_best(rows @ query, k)
    best = np.einsum("td,d->t", rows[near], query)
    order = np.argsort(-best, kind="stable")[:k]
    return best[order], candidates[near[order]]


def _search_few(store: RowStore, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    """Search for a few queries: hold all of their scores."""
    if places is not None and 8 * len(places) >= len(store):  # a copy of these vectors would cost more
        products = np.take(_all_products(store, queries, None), places, axis=1)
    else:
        products = _all_products(store, queries, places)
    best = [_best_products(store, query, own, k, places) for query, own in zip(queries, products, strict=True)]
    if len(best) == 1:  # one query: copy nothing
        return best[0][0][None], best[0][1][None]
    return np.stack([scores for scores, _ in best]), np.stack([found for _, found in best])


def _best_products(
    store: RowStore, query: Floats, scores: Floats, k: int, places: Places | None
) -> tuple[Floats, Places]:
    """(D,), (N,) -> (k,), (k,): of a query and its products with all vectors."""
    near = _near_best(scores, k)
    near = near if places is None else places[near]
    again = _products(store, near, query)
    order = (-again).argsort(kind="stable")[:k]
    return again[order], near[order]


def _search_held(store: RowStore, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    """Search where the scores (Q, N) of a block of queries can be held."""
    scores = _all_products(store, queries, places)
    kept = np.flatnonzero(scores >= _lower_bounds(scores, k)[:, None])
    query, place = np.divmod(kept, scores.shape[1])
    place = place if places is None else places[place]
    ends = np.cumsum(np.bincount(query, minlength=len(queries)))
    again, start = np.empty(len(place), np.float32), 0
    for row, end in enumerate(ends.tolist()):
        again[start:end] = _products(store, place[start:end], queries[row])
        start = end
    order = np.lexsort((-again, query))  # stable: places ascend within equal scores
    chosen = order[np.concatenate([[0], ends[:-1]])[:, None] + np.arange(k)]
    return again[chosen], place[chosen]


def _search_groups(store: RowStore, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
    count = len(store) if places is None else len(places)
    groups, wider = _group_maxima(store, queries, places)
    columns = np.ascontiguousarray(wider.T)
    bounds = _kth_greatest(columns if len(wider) >= 2 * k else np.ascontiguousarray(groups.T), k)
    inside, members = _WIDER // _GROUP, np.arange(_GROUP)
    scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for row, query in enumerate(queries):
        units = np.flatnonzero(columns[row] >= bounds[row])
        unit, offset = np.nonzero(groups.reshape(-1, inside, len(queries))[units, :, row] >= bounds[row])
        place = ((units[unit] * inside + offset)[:, None] * _GROUP + members).ravel()
        place = place[: np.searchsorted(place, count)]
        scores[row], found[row] = best_of(store, query, place if places is None else places[place], k)
    return scores, found


def _group_maxima(store: RowStore, queries: Floats, places: Places | None) -> tuple[Floats, Floats]:
    """Return the greatest scores of each group (⌈N / 256⌉ · 16, Q), and of each wider group (⌈N / 256⌉, Q)."""
    count, Q = len(store) if places is None else len(places), len(queries)
    rows = max(1, min(_ROWS, _SCORES // Q) // _WIDER) * _WIDER
    units, inside = -(-count // _WIDER), _WIDER // _GROUP
    groups, wider = np.empty((units * inside, Q), np.float32), np.empty((units, Q), np.float32)
    columns, scores = np.ascontiguousarray(queries.T), np.empty((rows, Q), np.float32)
    for start in range(0, count, rows):
        tile = _tile(store, places, start, min(start + rows, count))
        first, last = start // _WIDER, start // _WIDER - (-len(tile) // _WIDER)
        np.matmul(tile, columns, out=scores[: len(tile)])
        scores[len(tile) : (last - first) * _WIDER] = -np.inf
        own = groups[first * inside : last * inside]
        np.max(scores[: (last - first) * _WIDER].reshape(-1, _GROUP, Q), axis=1, out=own)
        np.max(own.reshape(-1, inside, Q), axis=1, out=wider[first:last])
    return groups, wider


def _near_best(scores: Floats, k: int) -> Places:
    """(N,) -> the places of the k greatest and of those that are equal or nearly equal to the k-th, ascending."""
    groups, whole = _bounding_groups(len(scores), k)
    maxima = np.maximum.reduce(scores[:whole].reshape(-1, groups)) if whole else scores.copy()
    maxima.partition(len(maxima) - k)
    kth, top = float(maxima[-k]), float(maxima[-k:].max())  # NaN is sorted to the end
    rest = float(scores[whole:].max()) if 0 < whole < len(scores) else top
    if not (isfinite(top) and isfinite(rest)):
        raise _not_finite()
    near: Places = (scores >= kth - _NEAR_TIE * max(abs(kth), abs(top), abs(rest))).nonzero()[0]
    return near


def _lower_bounds(scores: Floats, k: int) -> Floats:
    """(Q, N) -> (Q,): at least k scores of each row reach it, and not many more if scores are in no order."""
    groups, whole = _bounding_groups(scores.shape[1], k)
    if not whole:
        return _kth_greatest(scores, k)
    maxima = scores[:, :whole].reshape(len(scores), -1, groups).max(1)
    return _kth_greatest(maxima, k, scores[:, whole:].max(1, initial=-np.inf))


def _bounding_groups(count: int, k: int) -> tuple[int, int]:
    """Return how many groups give a bound, and of how many scores: 0 if all scores should be compared."""
    groups = max(2 * k, min(count // _GROUP, _MOST_GROUPS))
    return groups, 0 if 2 * groups > count else count // groups * groups


def _kth_greatest(maxima: Floats, k: int, others: Floats | None = None) -> Floats:
    """(Q, G), (Q,) further maxima -> (Q,): the k-th greatest of G, less what BLAS may round differently."""
    parted = np.partition(maxima, maxima.shape[1] - k, axis=1)[:, -k:]
    top = parted.max(1)  # NaN is sorted to the end
    top = top if others is None else np.maximum(top, others)
    if not np.isfinite(top).all():
        raise _not_finite()
    kth = parted[:, 0]
    lower: Floats = kth - _NEAR_TIE * np.maximum(np.abs(kth), np.abs(top))
    return lower


def _not_finite() -> UserError:
    return UserError("a score is not finite: numbers of the queries or the vectors are too great for float32")


def _products(store: RowStore, places: Places, query: Floats) -> Floats:
    """Return the inner products of vectors with a query: of each by itself, always rounded the same."""
    if len(places) <= _ROWS:
        product: Floats = np.einsum("td,d->t", store.take(places), query)
        return product
    parts = np.split(places, range(_ROWS, len(places), _ROWS))
    return np.concatenate([_products(store, part, query) for part in parts])


def _all_products(store: RowStore, queries: Floats, places: Places | None) -> Floats:
    """Return the products (Q, N) of some queries with all vectors, or with those at some places."""
    count = len(store) if places is None else len(places)
    if count <= _ROWS:
        product: Floats = np.matmul(queries, _tile(store, places, 0, count).T)
        return product
    scores = np.empty((len(queries), count), np.float32)
    for start in range(0, count, _ROWS):
        tile = _tile(store, places, start, min(start + _ROWS, count))
        np.matmul(queries, tile.T, out=scores[:, start : start + len(tile)])
    return scores


def _tile(store: RowStore, places: Places | None, start: int, stop: int) -> Floats:
    return store.tile(start, stop) if places is None else store.take(places[start:stop])
