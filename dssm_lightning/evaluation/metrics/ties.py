"""Expectations over a random order of tied candidates.

Letters, for one tie group of one query: ``a`` candidates rank above the group, ``m`` are in it, ``n`` of these are
relevant, and ``h`` relevant candidates rank above the group. Each member of the group then takes each of the places
a + 1 … a + m with probability 1 / m.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dssm_lightning.evaluation.metrics.ranks import TieGroup

TERM_CHUNK = 1 << 20
"""Terms of a sum over tied places that are in memory at a time."""


def hit_probability(group: TieGroup, k: int) -> Tensor:
    """Return (Q,) P(a relevant member of the group is among the first k): 1 − C(m − n, k − a) / C(m, k − a).

    Example:
        >>> one = torch.tensor([1])
        >>> hit_probability(TieGroup(above=one, size=4 * one, relevant=one), k=2).round(decimals=6).tolist()
        [0.25]
    """
    drawn = torch.minimum((k - group.above).clamp(min=0), group.size)
    value = (drawn > 0).double()  # right unless place k is inside the group
    divided = ((drawn > 0) & (drawn < group.size)).nonzero().squeeze(1)
    if len(divided):
        d, m, n = drawn[divided], group.size[divided], group.relevant[divided]
        log_none = (_log_factorial(m - n) - _log_factorial(m - n - d)) - (_log_factorial(m) - _log_factorial(m - d))
        value[divided] = 1.0 - torch.where(d > m - n, 0.0, log_none.exp())
    return value


def expected_reciprocal(group: TieGroup) -> Tensor:
    """Return (Q,) E[1 / (a + J)], where J is the place of the first of n relevant among m members in random order.

    Example:
        >>> one = torch.tensor([1])
        >>> expected_reciprocal(TieGroup(above=0 * one, size=2 * one, relevant=one)).round(decimals=6).tolist()
        [0.75]
    """
    value = 1.0 / (group.above + 1).double()  # right if every member is relevant
    tied = (group.relevant < group.size).nonzero().squeeze(1)
    if len(tied):
        value[tied] = _first_reciprocal(group.above[tied], group.size[tied], group.relevant[tied])
    return value


def _first_reciprocal(above: Tensor, size: Tensor, relevant: Tensor) -> Tensor:
    # n = 1: J is uniform, and the sum over 1 / (a + j) is a difference of digamma functions
    value = (torch.digamma((above + size + 1).double()) - torch.digamma((above + 1).double())) / size
    several = (relevant > 1).nonzero().squeeze(1)
    if len(several):
        a, m, n = above[several], size[several], relevant[several]
        log_scale = n.double().log() - (_log_factorial(m) - _log_factorial(m - n))
        total = torch.zeros_like(value[several])
        for i, place in _expand(m - n + 1):
            left = m[i] - place - 1  # members after the J-th
            # P(J = j) = C(m − j, n − 1) / C(m, n)
            log_p = _log_factorial(left) - _log_factorial(left - n[i] + 1) + log_scale[i]
            total.index_add_(0, i, log_p.exp() / (a[i] + place + 1))
        value[several] = total
    return value


def _expand(lengths: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the elements of rows with the given lengths as (row, place in the row), ``TERM_CHUNK`` at a time."""
    stops = lengths.cumsum(0)
    total = int(stops[-1])
    for start in range(0, total, TERM_CHUNK):
        flat = torch.arange(start, min(start + TERM_CHUNK, total), device=lengths.device)
        row = torch.searchsorted(stops, flat, right=True)
        yield row, flat - (stops - lengths)[row]


def _log_factorial(n: Tensor) -> Tensor:
    """Return log n! in float64; 0 for a negative n, whose result is never used."""
    return torch.lgamma(n.double().clamp(min=0.0) + 1.0)
