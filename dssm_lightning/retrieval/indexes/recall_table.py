"""What an index finds of that which exact search finds, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.retrieval.indexes.base import Index
from dssm_lightning.retrieval.indexes.checks import checked_vectors, require_k
from dssm_lightning.utils.errors import UserError, is_number

_LEAST_SECONDS = 0.05  # of processor time, for each rate


class RecallRow(NamedTuple):
    """One row of the table: all vectors, or a share of them allowed.

    Example:
        >>> row = RecallRow("exact", "", 1.0, 10, 1.0, 900.0, 4000.0, 0.1, 2048)
        >>> row._asdict()["recall"]
        1.0
    """

    engine: str
    settings: str  # as name=value
    share: float  # of the vectors that are allowed
    k: int
    recall: float  # the mean share of the exact k rows that were found
    queries_per_second: float  # of processor time, one query at a time
    queries_per_second_in_batches: float  # of processor time, all queries at once
    build_seconds: float  # of processor time
    size: int  # bytes


def recall_table(
    index: Index, exact: Index, queries: ArrayLike, k: int, filters: Sequence[float] = (0.5, 0.05, 0.005)
) -> list[RecallRow]:
    """Compare an index with exact search over the same vectors: without a mask, and with random masks.

    Args:
        index: the index, built.
        exact: an index that finds the true rows, such as :class:`~dssm_lightning.retrieval.indexes.Exact`, built of
            the same vectors.
        queries: (Q, D) at least one query, better some hundreds.
        k: the number of rows for each query.
        filters: shares of the vectors that the masks allow; each allows at least k.

    Returns:
        a row without a mask, and a row for each share. A row that ties with the last exact one counts as found.

    Raises:
        UserError: indexes of other vectors; no query; a share outside 0 … 1; and as for :meth:`Index.search`.

    Example:
        >>> from dssm_lightning.retrieval.indexes import Exact
        >>> vectors = np.random.default_rng(0).normal(size=(2000, 32))
        >>> rows = recall_table(Exact("int8").build(vectors), Exact().build(vectors), vectors[:50], k=10)
        >>> [row.share for row in rows], min(row.recall for row in rows) > 0.9
        ([1.0, 0.5, 0.05, 0.005], True)
    """
    checked = checked_vectors(queries, "queries")
    if not index.same_vectors(exact):
        mine, its = (f"{each.count:,} × {each.width}" for each in (index, exact))
        raise UserError(f"the index has {mine} vectors, the exact index {its}: build both of the same vectors")
    require_k(k, index.count, index.count)
    for share in filters:
        if not (is_number(share) and 0 < share <= 1):
            raise UserError(f"filters: {share!r} is no share of the vectors, above 0 and at most 1")
    rng = np.random.default_rng(0)
    size = index.num_bytes()
    rows = [_row(index, exact, checked, k, 1.0, None)._replace(size=size)]
    for share in filters:
        allowed = np.zeros(index.count, bool)
        allowed[rng.choice(index.count, max(k, round(share * index.count)), replace=False)] = True
        rows.append(_row(index, exact, checked, k, float(share), allowed)._replace(size=size))
    return rows


def _row(
    index: Index, exact: Index, queries: NDArray[np.float32], k: int, share: float, allowed: NDArray[np.bool_] | None
) -> RecallRow:
    expected, found = exact.search(queries, k, allowed), index.search(queries, k, allowed)
    same = (found.rows[:, :, None] == expected.rows[:, None, :]).any(2)
    ties = found.scores >= expected.scores[:, -1:] if index.exact_scores else np.zeros_like(same)
    recall = float((same | ties).mean())
    one = _rate(lambda turn: index.search(queries[turn % len(queries)][None], k, allowed))
    batch = len(queries) * _rate(lambda turn: index.search(queries, k, allowed))
    settings = " ".join(f"{name}={value}" for name, value in index.settings.items())
    return RecallRow(index.engine, settings, share, k, recall, one, batch, index.build_seconds, 0)


def _rate(work: Callable[[int], Any]) -> float:
    """Return how many times a second of processor time suffices for the work."""
    turns, start = 0, time.process_time()
    while (seconds := time.process_time() - start) < _LEAST_SECONDS:
        work(turns)
        turns += 1
    return turns / seconds
