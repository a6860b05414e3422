"""Groups of tied candidates, and what a random order of their members leads to.

Letters, for one tie group of one query: ``a`` candidates stand above it, ``m`` are in it, ``n`` of these are relevant
and ``h`` relevant ones stand above it. Each of its members then stands at place a + 1 … a + m with probability 1 / m.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dssm_lightning.evaluation.metrics.ranks import TieGroup

TERM_CHUNK = 1 << 20
"""Terms of a sum over tied places that are spelt out at a time."""


def hit_probability(group: TieGroup, k: int) -> Tensor:
    """(Q,) P(one of the group's relevant members is among the first k): 1 − C(m − n, k − a) / C(m, k − a)."""
    drawn = torch.minimum((k - group.above).clamp(min=0), group.size)
    value = (drawn > 0).double()  # right unless the cut goes through the group
    cut = ((drawn > 0) & (drawn < group.size)).nonzero().squeeze(1)
    if len(cut):
        d, m, n = drawn[cut], group.size[cut], group.relevant[cut]
        log_none = (_log_factorial(m - n) - _log_factorial(m - n - d)) - (_log_factorial(m) - _log_factorial(m - d))
        value[cut] = 1.0 - torch.where(d > m - n, 0.0, log_none.exp())
    return value


def expected_reciprocal(group: TieGroup) -> Tensor:
    """(Q,) E[1 / (a + J)], where the first of the n relevant among m in random order is the J-th."""
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
    """Elements of rows with the given lengths as (row, place in the row), at most ``TERM_CHUNK`` at a time."""
    stops = lengths.cumsum(0)
    total = int(stops[-1])
    for start in range(0, total, TERM_CHUNK):
        flat = torch.arange(start, min(start + TERM_CHUNK, total), device=lengths.device)
        row = torch.searchsorted(stops, flat, right=True)
        yield row, flat - (stops - lengths)[row]


def _log_factorial(n: Tensor) -> Tensor:
    """log n! in float64; 0 for a negative n, which only stands where the result is not used."""
    return torch.lgamma(n.double().clamp(min=0.0) + 1.0)
