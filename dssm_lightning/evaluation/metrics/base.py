"""The base classes of ranking metrics: a mean over queries in constant memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.evaluation.metrics.ranks import Ranks
from dssm_lightning.utils.errors import require_whole


class RankMetric(Metric):
    """The mean over queries of one value for each query; NaN if no query counts.

    A subclass defines :meth:`value`. The states are a float64 sum and an integer count: exact beyond 2^24 queries, and
    under any number of processes.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> class FirstPlace(RankMetric):
        ...     def value(self, ranks):
        ...         return ranks.first_group.above + 1.0
        >>> metric = FirstPlace()
        >>> metric.update(rank(torch.tensor([[4.0, 3.0, 2.0]]), Ragged(torch.tensor([2, 1]), torch.tensor([0, 2]))))
        >>> metric.compute().item()
        2.0
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
        """Return (Q,) float64: the metric of each query; any number for a query that does not count."""
        raise NotImplementedError

    def counts(self, ranks: Ranks) -> Tensor:
        """Return (Q,) bool: whether a query counts, because it has a relevant candidate."""
        return ranks.num_relevant > 0

    def by_row(self, ranks: Ranks) -> Tensor:
        """Return (Q,) float64: the metric of each query, NaN for a query that does not count."""
        return torch.where(self.counts(ranks), self.value(ranks), torch.nan)

    def update(self, ranks: Ranks) -> None:
        """Add the queries of a batch."""
        counts = self.counts(ranks)
        # not in place: a state that was reset in inference mode must accept an update outside inference mode
        self.total = self.total + torch.where(counts, self.value(ranks), 0.0).sum()
        self.count = self.count + counts.sum()

    def compute(self) -> Tensor:
        """Return () float64: the mean over all queries that count."""
        return self.total / self.count


class CutMetric(RankMetric):
    """A metric of the ``k`` best candidates.

    Raises:
        UserError: ``k`` is below 1.

    Example:
        >>> class TopRank(CutMetric):
        ...     def value(self, ranks):
        ...         return (ranks.first_group.above < self.k).double()
        >>> TopRank(k=10).k
        10
    """

    def __init__(self, k: int) -> None:
        require_whole(type(self).__name__, "k", k)
        super().__init__()
        self.k = k

    def places(self, ranks: Ranks) -> Tensor:
        """Return (T,): how many of the places a + 1 … a + m of each relevant candidate are among the first k."""
        return torch.minimum((self.k - ranks.above).clamp(min=0), ranks.ties + 1)
