"""Ranking metrics over the whole corpus: each a function of :class:`Ranks`, averaged over queries in constant memory.

With ties, each metric is its **expectation over a random order of the tied candidates**, in closed form. A model that
scores everything alike thus gets what a random order gets. Queries without a relevant candidate are left out.

Letters a, m, n and h are those of :mod:`dssm_lightning.evaluation.metrics.ties`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.evaluation.metrics.ranks import Ranks
from dssm_lightning.evaluation.metrics.ties import expected_reciprocal, hit_probability
from dssm_lightning.utils.errors import UserError


class RankMetric(Metric):
    """The mean over queries of one value for each query; NaN as long as no query counted.

    A subclass defines :meth:`value`. States are a float64 sum and an integer count: exact beyond 2^24 queries, and
    under any number of ranks.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) float64: the metric of each query; anything where the query does not count."""
        raise NotImplementedError

    def counts(self, ranks: Ranks) -> Tensor:
        """(Q,) bool: which queries have a value: those with a relevant candidate."""
        return ranks.num_relevant > 0

    def by_row(self, ranks: Ranks) -> Tensor:
        """(Q,) float64: the metric of each query, NaN where it does not count."""
        return torch.where(self.counts(ranks), self.value(ranks), torch.nan)

    def update(self, ranks: Ranks) -> None:
        """Adds the queries of a batch."""
        counts = self.counts(ranks)
        # not in place: a state that was reset in inference mode must take an update outside of it
        self.total = self.total + torch.where(counts, self.value(ranks), 0.0).sum()
        self.count = self.count + counts.sum()

    def compute(self) -> Tensor:
        """() float64 mean over all queries that counted."""
        return self.total / self.count


class CutMetric(RankMetric):
    """A metric of the ``k`` best candidates.

    Raises:
        ValueError: ``k`` is not positive.
    """

    def __init__(self, k: int) -> None:
        if k < 1:
            raise UserError(f"k={k}: a ranking is cut after at least one candidate")
        super().__init__()
        self.k = k

    def places(self, ranks: Ranks) -> Tensor:
        """(T,) of the a + 1 … a + m places that each relevant candidate may take, how many are among the first k."""
        return torch.minimum((self.k - ranks.above).clamp(min=0), ranks.ties + 1)


class HitRate(CutMetric):
    """P(a relevant candidate is among the first k): 1 − C(m − n, k − a) / C(m, k − a) of the first tie group.

    Also known as success@k, and with one relevant candidate for each query as recall@k.
    """

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        return hit_probability(ranks.first_group, self.k)


class Recall(CutMetric):
    """Relevant candidates among the first k, divided by all relevant ones of the query."""

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        return _sum(self.places(ranks).double() / (ranks.ties + 1), ranks) / ranks.num_relevant


class Precision(CutMetric):
    """Relevant candidates among the first k, divided by k, even where fewer than k candidates are ranked."""

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        return _sum(self.places(ranks).double() / (ranks.ties + 1), ranks) / self.k


class NDCG(CutMetric):
    """Discounted gain of the first k places, gain / log2(place + 1) for a relevant one, divided by the best possible.

    The gain is the grade, or 1 where relevance has no grades. The ideal ranking is cut at k, too: trec_eval's
    ``ndcg_cut``. Source: Järvelin and Kekäläinen 2002.
    """

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self._discounts = _prefix_sums(1.0 / torch.log2(torch.arange(2.0, k + 2.0, dtype=torch.float64)))

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        discounts = self._discounts.to(ranks.above.device)
        start = ranks.above.clamp(max=self.k)
        found = (discounts[start + self.places(ranks)] - discounts[start]) / (ranks.ties + 1)
        if ranks.gain is None:
            return _sum(found, ranks) / discounts[ranks.num_relevant.clamp(max=self.k)]
        ideal = ranks.ideal_place.clamp(max=self.k)
        best = discounts[(ideal + 1).clamp(max=self.k)] - discounts[ideal]
        return _sum(ranks.gain * found, ranks) / _sum(ranks.gain * best, ranks)


class MAP(CutMetric):
    """Precision at the place of each relevant candidate among the first k, summed, divided by all relevant ones.

    trec_eval's ``map_cut``. Under a random order of ties a relevant candidate at place a + j has, on average,
    h + 1 + (n − 1)(j − 1) / (m − 1) relevant ones at or above its place, so the sum over j is a harmonic one.
    """

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self._harmonic = _prefix_sums(1.0 / torch.arange(1.0, k + 1.0, dtype=torch.float64))

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        harmonic = self._harmonic.to(ranks.above.device)
        relevant_above, group_relevant = ranks.relevant_around
        places = self.places(ranks)
        start = ranks.above.clamp(max=self.k)
        slope = (group_relevant - 1).double() / ranks.ties.clamp(min=1)
        at_once = (relevant_above + 1) - slope * (ranks.above + 1)
        precision = (at_once * (harmonic[start + places] - harmonic[start]) + slope * places) / (ranks.ties + 1)
        return _sum(precision, ranks) / ranks.num_relevant


class NumQueries(RankMetric):
    """How many queries have a relevant candidate: what the means of the other metrics are over."""

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) ones."""
        return torch.ones_like(ranks.num_relevant, dtype=torch.float64)

    def compute(self) -> Tensor:
        """() int64."""
        return self.count


class MRR(RankMetric):
    """1 / place of the first relevant candidate."""

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        return expected_reciprocal(ranks.first_group)


class QueryAUROC(RankMetric):
    """P(a relevant candidate stands above another that is ranked), a tie counting half: area under the query's ROC.

    Queries count that have both relevant and other candidates. Pairs of two relevant candidates add up to
    R (R − 1) / 2 whatever their order, so they are taken off at once.
    """

    def counts(self, ranks: Ranks) -> Tensor:
        """(Q,) bool: queries with a relevant and another candidate."""
        return (ranks.num_relevant > 0) & (ranks.eligible > ranks.num_relevant)

    def value(self, ranks: Ranks) -> Tensor:
        """(Q,) as :meth:`RankMetric.value`."""
        relevant = ranks.num_relevant.double()
        others = ranks.eligible - relevant
        wrong = _sum(ranks.above + 0.5 * ranks.ties.double(), ranks) - relevant * (relevant - 1.0) / 2.0
        return 1.0 - wrong / (relevant * others)


def _sum(values: Tensor, ranks: Ranks) -> Tensor:
    """(T,) summed by query -> (Q,) float64."""
    return torch.zeros(len(ranks.eligible), dtype=torch.float64, device=values.device).index_add_(
        0, ranks.rows, values.double()
    )


def _prefix_sums(values: Tensor) -> Tensor:
    """(k,) -> (k + 1,): sums of the first 0 … k values. On the CPU, where a sum has one order."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
