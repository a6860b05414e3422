"""Ranking metrics over the whole corpus: functions of :class:`Ranks`, averaged over queries in constant memory.

With ties, each metric is its **expectation over a random order of the tied candidates**, in closed form. A model that
gives every candidate the same score thus has the metrics of a random order. Queries without a relevant candidate do
not count.

The letters a, m, n and h are defined in :mod:`dssm_lightning.evaluation.metrics.ties`. A place is a rank plus 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.evaluation.metrics.base import CutMetric, RankMetric
from dssm_lightning.evaluation.metrics.ranks import Ranks
from dssm_lightning.evaluation.metrics.ties import expected_reciprocal, hit_probability


class HitRate(CutMetric):
    """P(a relevant candidate is among the first k): 1 − C(m − n, k − a) / C(m, k − a) of the first tie group.

    Also known as success@k. With one relevant candidate for each query it equals recall@k.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> HitRate(1).value(ranks).tolist()
        [1.0]
    """

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        return hit_probability(ranks.first_group, self.k)


class Recall(CutMetric):
    """The number of relevant candidates among the first k, divided by the query's number of relevant candidates.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> Recall(2).value(ranks).tolist()
        [0.5]
    """

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        return _sum(self.places(ranks).double() / (ranks.ties + 1), ranks) / ranks.num_relevant


class Precision(CutMetric):
    """The number of relevant candidates among the first k, divided by k, even if fewer than k candidates are ranked.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> Precision(4).value(ranks).tolist()
        [0.5]
    """

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        return _sum(self.places(ranks).double() / (ranks.ties + 1), ranks) / self.k


class NDCG(CutMetric):
    """The discounted gain of the first k places, divided by the discounted gain of the ideal ranking's first k places.

    The discounted gain is the sum of gain / log2(place + 1) over relevant candidates. The gain is the grade, or 1 if
    relevance has no grades. Equals trec_eval's ``ndcg_cut``. Source: Järvelin and Kekäläinen 2002.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> round(NDCG(4).value(ranks).item(), 3)  # (1 + 1 / log2(5)) / (1 + 1 / log2(3))
        0.877
    """

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self._discounts = _prefix_sums(1.0 / torch.log2(torch.arange(2.0, k + 2.0, dtype=torch.float64)))

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        discounts = self._discounts.to(ranks.above.device)
        start = ranks.above.clamp(max=self.k)
        found = (discounts[start + self.places(ranks)] - discounts[start]) / (ranks.ties + 1)
        if ranks.gain is None:
            return _sum(found, ranks) / discounts[ranks.num_relevant.clamp(max=self.k)]
        ideal = ranks.ideal_place.clamp(max=self.k)
        best = discounts[(ideal + 1).clamp(max=self.k)] - discounts[ideal]
        return _sum(ranks.gain * found, ranks) / _sum(ranks.gain * best, ranks)


class MAP(CutMetric):
    """The precision at each relevant candidate among the first k, summed, divided by the number of relevant candidates.

    Equals trec_eval's ``map_cut``. Under a random order of ties, a relevant candidate at place a + j has on average
    h + 1 + (n − 1)(j − 1) / (m − 1) relevant candidates at its place or above it. The sum over j is thus harmonic.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> round(MAP(4).value(ranks).item(), 3)  # (1 / 1 + 2 / 4) / 2
        0.75
    """

    def __init__(self, k: int) -> None:
        super().__init__(k)
        self._harmonic = _prefix_sums(1.0 / torch.arange(1.0, k + 1.0, dtype=torch.float64))

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        harmonic = self._harmonic.to(ranks.above.device)
        relevant_above, group_relevant = ranks.relevant_around
        places = self.places(ranks)
        start = ranks.above.clamp(max=self.k)
        slope = (group_relevant - 1).double() / ranks.ties.clamp(min=1)
        at_once = (relevant_above + 1) - slope * (ranks.above + 1)
        precision = (at_once * (harmonic[start + places] - harmonic[start]) + slope * places) / (ranks.ties + 1)
        return _sum(precision, ranks) / ranks.num_relevant


class NumQueries(RankMetric):
    """The number of queries with a relevant candidate: the other metrics are means over these queries.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> metric = NumQueries()
        >>> metric.update(rank(torch.rand(2, 5), Ragged(torch.tensor([3]), torch.tensor([0, 0, 1]))))
        >>> metric.compute().item()
        1
    """

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) ones."""
        return torch.ones_like(ranks.num_relevant, dtype=torch.float64)

    def compute(self) -> Tensor:
        """Return () int64."""
        return self.count


class ListsWithoutPositive(RankMetric):
    """The number of lists without a relevant candidate, which no other metric counts.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> metric = ListsWithoutPositive()
        >>> metric.update(rank(torch.rand(3, 5), Ragged(torch.tensor([3]), torch.tensor([0, 0, 1, 1]))))
        >>> metric.compute().item()
        2
    """

    higher_is_better = False

    def counts(self, ranks: Ranks) -> Tensor:
        """Return (Q,) bool: whether a list has no relevant candidate."""
        return ranks.num_relevant == 0

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) ones."""
        return torch.ones_like(ranks.num_relevant, dtype=torch.float64)

    def compute(self) -> Tensor:
        """Return () int64."""
        return self.count


class MRR(RankMetric):
    """1 / place of the first relevant candidate.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged(torch.tensor([1]), torch.tensor([0, 1]))
        >>> MRR().value(rank(torch.tensor([[4.0, 3.0, 2.0]]), relevant)).tolist()
        [0.5]
        >>> round(MRR().value(rank(torch.tensor([[3.0, 3.0, 2.0]]), relevant)).item(), 3)  # a tie: (1 + 1/2) / 2
        0.75
    """

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        return expected_reciprocal(ranks.first_group)


class QueryAUROC(RankMetric):
    """P(a relevant candidate ranks above an irrelevant one), a tie counting half: the area under the query's ROC curve.

    A query counts if it has both relevant and irrelevant candidates. Pairs of two relevant candidates add up to
    R (R − 1) / 2 in any order and are subtracted at once.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 3]), torch.tensor([2]))
        >>> ranks = rank(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), relevant)  # ranks 0 and 3
        >>> QueryAUROC().value(ranks).tolist()
        [0.5]
    """

    def counts(self, ranks: Ranks) -> Tensor:
        """Return (Q,) bool: whether a query has a relevant and an irrelevant candidate."""
        return (ranks.num_relevant > 0) & (ranks.eligible > ranks.num_relevant)

    def value(self, ranks: Ranks) -> Tensor:
        """Return (Q,) the metric of each query."""
        relevant = ranks.num_relevant.double()
        irrelevant = ranks.eligible - relevant
        wrong = _sum(ranks.above + 0.5 * ranks.ties.double(), ranks) - relevant * (relevant - 1.0) / 2.0
        return 1.0 - wrong / (relevant * irrelevant)


def _sum(values: Tensor, ranks: Ranks) -> Tensor:
    """Sum by query: (T,) -> (Q,) float64."""
    return torch.zeros(len(ranks.eligible), dtype=torch.float64, device=values.device).index_add_(
        0, ranks.rows, values.double()
    )


def _prefix_sums(values: Tensor) -> Tensor:
    """Return sums of the first 0 … k values: (k,) -> (k + 1,). On the CPU, where the order of a sum is fixed."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
