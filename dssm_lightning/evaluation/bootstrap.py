"""How far a mean over queries might lie elsewhere with other queries: the percentile bootstrap (Efron 1979).

Queries are drawn with replacement, each with all of its rows: where rows are events, those of one query are alike and
must not be taken for independent ones.
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
"""Queries drawn at a time: a few arrays of 32 MiB."""


class Comparison(NamedTuple):
    """Paired differences B − A of M metrics."""

    a: Tensor  # (M,) float64 means over the rows that count in both
    b: Tensor  # (M,)
    low: Tensor  # (M,) interval of b − a
    high: Tensor  # (M,)
    p: Tensor  # (M,) two-sided p-value


def intervals(values: Tensor, query: Tensor, resamples: int = RESAMPLES) -> Tensor:
    """(M, 2) float64 lower and upper end of each mean's 95 % interval; NaN for a metric without a value.

    Args:
        values: (R, M) the metrics of each row; NaN where a row does not count for one.
        query: (R,) int64 which query a row belongs to.
        resamples: how often to draw.
    """
    return _ends(resampled_means(values, query, resamples))


def compare(a: Tensor, b: Tensor, query: Tensor, resamples: int = RESAMPLES) -> Comparison:
    """The paired bootstrap: both sides of a resample have the same queries.

    The p-value is twice the smaller of the shares of resamples with a difference of at most, and at least, 0: how
    readily the sign would turn with other queries. It is never below 2 / (resamples + 1).

    Args:
        a: (R, M) the metrics of each row; NaN where a row does not count for one, which then counts in neither.
        b: (R, M) likewise, of the same rows.
        query: (R,) int64 which query a row belongs to.
        resamples: how often to draw.
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
    """(resamples, M) float64 means of the rows of queries that were drawn with replacement, from a fixed seed.

    A query that is drawn w times counts w times, so all means are one product of the counts (resamples, Q) with the
    queries' sums (Q, M), divided by one with how many of their rows count.
    """
    sums, sizes, pattern = _by_query(values.double(), query)
    means = [draws @ sums / (draws @ sizes)[:, pattern] for draws in _draws(len(sums), resamples)]
    return torch.cat(means)


def _by_query(values: Tensor, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(Q, M) sums, (Q, P) numbers of rows that count, (M,) which of these P belongs to each metric."""
    queries, owner = torch.unique(query, return_inverse=True)
    # most metrics count on the same rows: one product serves them all
    counts, pattern = torch.unique(~values.isnan().T, dim=0, return_inverse=True)  # (P, R)
    zeros = values.new_zeros(len(queries), values.shape[1])
    sums = zeros.index_add(0, owner, values.nan_to_num(0.0))
    sizes = zeros[:, : len(counts)].index_add(0, owner, counts.T.double())
    return sums, sizes, pattern


def _draws(num_queries: int, resamples: int) -> Iterator[Tensor]:
    """(·, Q) float64 how often each query is drawn, some resamples at a time."""
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
