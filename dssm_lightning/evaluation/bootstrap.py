"""The percentile bootstrap (Efron 1979): how much a mean over queries varies with the choice of queries.

Queries are drawn with replacement, each with all of its rows: if rows are events, the events of one query resemble each
other and are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils.seeding import Counter

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
DRAW_CHUNK = 1 << 22
"""Queries drawn at a time: the arrays take 32 MiB each."""


class Comparison(NamedTuple):
    """Paired differences B − A of M metrics.

    Example:
        >>> a, b = torch.zeros(50, 1), torch.ones(50, 1)
        >>> found = compare(a, b, query=torch.arange(50), resamples=999)
        >>> found.b.item(), found.low.item(), found.high.item(), round(found.p.item(), 3)
        (1.0, 1.0, 1.0, 0.002)
    """

    a: Tensor  # (M,) float64 means over the rows that count for both sides
    b: Tensor  # (M,)
    low: Tensor  # (M,) interval of b − a
    high: Tensor  # (M,)
    p: Tensor  # (M,) two-sided p-value


def intervals(values: Tensor, query: Tensor, resamples: int = RESAMPLES) -> Tensor:
    """Return (M, 2) float64: lower and upper end of each mean's 95 % interval; NaN for a metric without a value.

    Args:
        values: (R, M) the metrics of each row; NaN if a row does not count for a metric.
        query: (R,) int64 the query of each row.
        resamples: how often to draw.

    Example:
        >>> values = torch.tensor([[0.0], [1.0]]).repeat(50, 1)  # 100 queries, mean 0.5
        >>> low, high = intervals(values, query=torch.arange(100))[0].tolist()
        >>> 0.35 < low < 0.45 < 0.55 < high < 0.65
        True
    """
    return _ends(resampled_means(values, query, resamples))


def compare(a: Tensor, b: Tensor, query: Tensor, resamples: int = RESAMPLES) -> Comparison:
    """Compare two sides by the paired bootstrap: both sides of a resample have the same queries.

    The p-value is twice the smaller of two shares of resamples: those with a difference of at most 0, and those with a
    difference of at least 0. It is never below 2 / (resamples + 1).

    Args:
        a: (R, M) the metrics of each row; NaN if a row does not count for a metric. A row that does not count for one
            side counts for neither.
        b: (R, M) the other side's metrics of the same rows.
        query: (R,) int64 the query of each row.
        resamples: how often to draw.

    Example:
        >>> a = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
        >>> found = compare(a, a, query=torch.arange(4))
        >>> found.low.item(), found.high.item(), found.p.item()
        (0.0, 0.0, 1.0)
    """
    a, b = a.double(), b.double()
    difference = b - a
    both = ~difference.isnan()
    drawn = resampled_means(difference, query, resamples)  # (resamples, M)
    low, high = _ends(drawn).unbind(1)
    known = (~drawn.isnan()).sum(0)
    smaller = torch.minimum((drawn <= 0).sum(0), (drawn >= 0).sum(0))
    p = torch.where(known > 0, (2.0 * (smaller + 1) / (known + 1)).clamp(max=1.0), torch.nan)
    mean_a, mean_b = (torch.where(both, side, torch.nan).nanmean(0) for side in (a, b))
    return Comparison(mean_a, mean_b, low, high, p)


def resampled_means(values: Tensor, query: Tensor, resamples: int) -> Tensor:
    """Return (resamples, M) float64 means over queries drawn with replacement, from a fixed seed.

    A query that is drawn w times counts w times. All means are therefore a quotient of two products: the draws
    (resamples, Q) times the queries' sums (Q, M), and the draws times the queries' numbers of rows that count.

    Example:
        >>> resampled_means(torch.ones(6, 1), query=torch.arange(6), resamples=3).tolist()
        [[1.0], [1.0], [1.0]]
    """
    sums, sizes, pattern = _by_query(values.double(), query)
    means = [draws @ sums / (draws @ sizes)[:, pattern] for draws in _draws(len(sums), resamples)]
    return torch.cat(means)


def _by_query(values: Tensor, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (Q, M) sums, (Q, P) numbers of rows that count, and (M,) each metric's index among these P numbers."""
    queries, owner = torch.unique(query, return_inverse=True)
    # most metrics count on the same rows: one product is enough for all of them
    counts, pattern = torch.unique(~values.isnan().T, dim=0, return_inverse=True)  # (P, R)
    zeros = values.new_zeros(len(queries), values.shape[1])
    sums = zeros.index_add(0, owner, values.nan_to_num(0.0))
    sizes = zeros[:, : len(counts)].index_add(0, owner, counts.T.double())
    return sums, sizes, pattern


def _draws(num_queries: int, resamples: int) -> Iterator[Tensor]:
    """Yield (resamples of a chunk, Q) float64: how often each query is drawn."""
    generator = Counter(SEED).generator("bootstrap")
    step = max(1, DRAW_CHUNK // max(1, num_queries))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = torch.randint(max(1, num_queries), (size, num_queries), generator=generator)
        drawn += torch.arange(size)[:, None] * num_queries
        yield torch.bincount(drawn.flatten(), minlength=size * num_queries).view(size, num_queries).double()


def _ends(means: Tensor) -> Tensor:
    tail = (1.0 - LEVEL) / 2.0
    return means.nanquantile(means.new_tensor([tail, 1.0 - tail]), dim=0).T
