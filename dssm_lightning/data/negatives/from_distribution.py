"""Samplers that draw from one distribution over the corpus."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions
from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables
from dssm_lightning.utils.errors import UserError, require_positive
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.seeding import Counter


class Uniform(NegativeSampler):
    """Draw every candidate of the corpus with equal probability, with replacement.

    Args:
        num_negatives: number for the whole batch, or for each row.
        per_row: whether each row has its own negatives.

    Example:
        >>> likes = Interactions(torch.tensor([0, 1]), torch.tensor([2, 0]), fold=torch.zeros(2, dtype=torch.int8))
        >>> sampler = Uniform(num_negatives=3, per_row=True)
        >>> sampler.bind(SamplerTables(likes, num_queries=2, num_candidates=10))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0, 1])).shape
        torch.Size([2, 3])
        >>> sampler.expected(torch.tensor([7])).item()  # 3 draws from 10 candidates
        0.3
    """

    def bind(self, tables: SamplerTables) -> None:
        """Read the size of the corpus."""
        super().bind(tables)
        self._num_candidates = tables.num_candidates

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (n,) or (B, n) int64."""
        return torch.randint(self._num_candidates, self._shape(rows), generator=counter.generator("negatives"))

    def expected(self, ids: Tensor) -> Tensor:
        """Return n / N for each candidate, (C,)."""
        return torch.full((len(ids),), self.num_negatives / self._num_candidates, dtype=torch.float64)


class _Weighted(NegativeSampler):
    """Draw every candidate in proportion to a weight, with replacement."""

    def _set_weights(self, weight: Tensor) -> None:
        """Set the weights (N,) float64, at least one of them above 0."""
        cumulative = weight.cumsum(0)
        if not 0 < float(cumulative[-1]) < math.inf:
            raise UserError(f"{type(self).__name__}: the weights of the candidates overflow; choose a smaller alpha")
        self._probability = weight / cumulative[-1]  # (N,)
        self._cumulative = cumulative / cumulative[-1]  # (N,), ends at exactly 1: above every draw

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (n,) or (B, n) int64."""
        uniform = torch.rand(self._shape(rows), dtype=torch.float64, generator=counter.generator("negatives"))
        return torch.searchsorted(self._cumulative, uniform, right=True)

    def expected(self, ids: Tensor) -> Tensor:
        """Return n times the probability of one draw, (C,)."""
        return self.num_negatives * self._probability[ids]


class Popularity(_Weighted):
    """Draw candidates in proportion to their number of training positives to the power of alpha, with replacement.

    A candidate without training positives is never drawn, so no loss lowers its score. If the corpus has many such
    candidates, combine the sampler with ``Uniform`` in ``Mixed`` (mixed negative sampling, Yang et al., WWW 2020, doi
    10.1145/3366424.3386195).

    Args:
        num_negatives: number for the whole batch, or for each row.
        alpha: 1 draws by popularity, smaller values are nearer to uniform; 0.75 is word2vec's (arXiv 1310.4546).
        per_row: whether each row has its own negatives.

    Raises:
        UserError: alpha is not positive; in :meth:`bind`, no training row is a positive.

    Example:
        >>> likes = Interactions(torch.tensor([0, 1, 2]), torch.tensor([4, 4, 1]), torch.zeros(3, dtype=torch.int8))
        >>> sampler = Popularity(num_negatives=3, alpha=1.0)
        >>> sampler.bind(SamplerTables(likes, num_queries=3, num_candidates=5))
        >>> sampler.expected(torch.arange(5)).round(decimals=2).tolist()
        [0.0, 1.0, 0.0, 0.0, 2.0]
    """

    def __init__(self, num_negatives: int, alpha: float = 0.75, per_row: bool = False) -> None:
        super().__init__(num_negatives, per_row)
        require_positive("Popularity", "alpha", alpha, "Uniform draws every candidate with equal probability")
        self.alpha = alpha

    def bind(self, tables: SamplerTables) -> None:
        """Count the training positives of each candidate."""
        super().bind(tables)
        liked = _training_positives("Popularity", tables.interactions)
        self._set_weights(torch.bincount(liked, minlength=tables.num_candidates).double() ** self.alpha)


class LogUniform(_Weighted):
    """Draw candidates by their place in the order of training popularity, close to Zipf's law, with replacement.

    Candidate k (from 0) in the order of popularity is drawn with probability log((k + 2) / (k + 1)) / log(N + 1), which
    is about proportional to 1 / (k + 1). Equally popular candidates are ordered by corpus row. Unlike ``Popularity``,
    the sampler also draws candidates without training positives, and only the order of the counts matters.

    Args:
        num_negatives: number for the whole batch, or for each row.
        per_row: whether each row has its own negatives.

    Source: TensorFlow's log-uniform candidate sampler, which needs ids that are in this order already.

    Raises:
        UserError: in :meth:`bind`, no training row is a positive.

    Example:
        >>> likes = Interactions(torch.tensor([0, 1, 2]), torch.tensor([2, 2, 1]), torch.zeros(3, dtype=torch.int8))
        >>> sampler = LogUniform(num_negatives=1)
        >>> sampler.bind(SamplerTables(likes, num_queries=3, num_candidates=3))
        >>> sampler.expected(torch.arange(3)).round(decimals=2).tolist()  # log 4/3, log 3/2 and log 2, by log 4
        [0.21, 0.29, 0.5]
    """

    def bind(self, tables: SamplerTables) -> None:
        """Order the corpus by the number of training positives."""
        super().bind(tables)
        liked = _training_positives("LogUniform", tables.interactions)
        order = torch.bincount(liked, minlength=tables.num_candidates).argsort(descending=True, stable=True)  # (N,)
        place = torch.empty(tables.num_candidates, dtype=torch.float64)
        place[order] = torch.arange(tables.num_candidates, dtype=torch.float64)
        self._set_weights(torch.log1p(1 / (place + 1)))


def _training_positives(sampler: str, interactions: Interactions) -> Tensor:
    """Return the corpus rows of the training positives."""
    liked = gathered(interactions.candidate, interactions.rows(TRAIN, label=1))
    if not len(liked):
        raise UserError(f"{sampler}: no training interaction is a positive, so the popularity of candidates is unknown")
    return liked
