"""Samplers that draw from one distribution over the corpus."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions
from dssm_lightning.data.negatives.base import NegativeSampler
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.seeding import Counter


class Uniform(NegativeSampler):
    """Every candidate of the corpus alike, with replacement.

    Args:
        num_negatives: for the whole batch or for each row.
        per_row: whether each row has its own.
    """

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Learns the size of the corpus."""
        super().bind(interactions, num_queries, num_candidates, candidates)
        self._num_candidates = num_candidates

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64."""
        return torch.randint(self._num_candidates, self._shape(rows), generator=counter.generator("negatives"))

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n / N."""
        return torch.full((len(ids),), self.num_negatives / self._num_candidates, dtype=torch.float64)


class _Weighted(NegativeSampler):
    """Every candidate in proportion to a weight, with replacement."""

    def _draw_by(self, weight: Tensor) -> None:
        """``weight`` (N,) float64, not all 0."""
        cumulative = weight.cumsum(0)
        self._probability = weight / cumulative[-1]  # (N,)
        self._cumulative = cumulative / cumulative[-1]  # (N,), ends at exactly 1: above every draw

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64."""
        uniform = torch.rand(self._shape(rows), dtype=torch.float64, generator=counter.generator("negatives"))
        return torch.searchsorted(self._cumulative, uniform, right=True)

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n times the chance of one draw."""
        return self.num_negatives * self._probability[ids]


class Popularity(_Weighted):
    """Candidates in proportion to how often training likes them, to the power of alpha; with replacement.

    What no training row likes is never drawn, so that nothing holds its score down: add ``Uniform`` by ``Mixed`` where
    the corpus has many such candidates (mixed negative sampling, Yang et al., WWW 2020, doi 10.1145/3366424.3386195).

    Args:
        num_negatives: for the whole batch or for each row.
        alpha: 1 draws by popularity, smaller values are nearer to uniform; 0.75 is word2vec's (arXiv 1310.4546).
        per_row: whether each row has its own.

    Raises:
        ValueError: alpha is not positive.
    """

    def __init__(self, num_negatives: int, alpha: float = 0.75, per_row: bool = False) -> None:
        super().__init__(num_negatives, per_row)
        if not alpha > 0:
            raise UserError(f"Popularity: alpha is {alpha}; it must be positive (Uniform draws every candidate alike)")
        self.alpha = alpha

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Counts the training likes of each candidate."""
        super().bind(interactions, num_queries, num_candidates, candidates)
        liked = _training_likes("Popularity", interactions)
        self._draw_by(torch.bincount(liked, minlength=num_candidates).double() ** self.alpha)


class LogUniform(_Weighted):
    """Candidates by their place in the order of training popularity, nearly as Zipf's law has it; with replacement.

    The k-th most liked of N, from 0, is drawn with probability log((k + 2) / (k + 1)) / log(N + 1), about as often as
    1 / (k + 1) says; equal numbers of likes are ordered by corpus row. Unlike ``Popularity`` it also draws what no
    training row likes, and how many likes the first have over the others is no matter.

    Args:
        num_negatives: for the whole batch or for each row.
        per_row: whether each row has its own.

    Source: TensorFlow's log-uniform candidate sampler, there over ids that must already be in this order.

    Raises:
        ValueError: in ``bind``, no training row is a positive.
    """

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Orders the corpus by training likes."""
        super().bind(interactions, num_queries, num_candidates, candidates)
        liked = _training_likes("LogUniform", interactions)
        order = torch.bincount(liked, minlength=num_candidates).argsort(descending=True, stable=True)  # (N,)
        place = torch.empty(num_candidates, dtype=torch.float64)
        place[order] = torch.arange(num_candidates, dtype=torch.float64)
        self._draw_by(torch.log1p(1 / (place + 1)))


def _training_likes(name: str, interactions: Interactions) -> Tensor:
    """(R,) corpus rows of the training positives."""
    liked = gathered(interactions.candidate, interactions.rows(TRAIN, label=1))
    if not len(liked):
        raise UserError(f"{name}: no training interaction is a positive, so there is no popularity to draw by")
    return liked
