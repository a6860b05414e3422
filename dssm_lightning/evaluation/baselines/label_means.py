"""The baseline for labelled pairs: how often a query likes, and how often a candidate is liked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_at_least


@dataclass(eq=False)
class LabelMeans(Baseline):
    """Probability that a pair is liked: overall mean + candidate's deviation + query's deviation, μ + b_c + b_q.

    b_c = Σ (y − μ) / (n_c + shrink) over the n_c labelled training pairs of the candidate, then
    b_q = Σ (y − μ − b_c) / (n_q + shrink) over the n_q pairs of the query. The ranking of a query depends on b_c alone.

    Source: the baseline estimate of Koren, KDD 2008, doi 10.1145/1401890.1401944, fitted in two steps.

    Raises:
        UserError: a negative shrink.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> one_each = torch.tensor([1, 1])
        >>> liked = Ragged.from_lengths(torch.tensor([0, 0]), one_each)  # both queries like candidate 0
        >>> shown = Ragged.from_lengths(torch.tensor([1, 1]), one_each)  # and neither likes candidate 1
        >>> baseline = LabelMeans(shrink=0.0)
        >>> baseline.fit(BaselineData(positives=liked, num_candidates=3, shown=shown))
        >>> baseline.scores(EvaluationBatch({}, torch.tensor([0]), liked, liked, shown)).tolist()
        [[1.0, 0.0, 0.5]]
    """

    shrink: float = 10.0
    """Number of pairs without deviation that are added to each mean; with 0, a single pair decides."""

    def __post_init__(self) -> None:
        require_at_least("LabelMeans", "shrink", self.shrink, 0)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that no training pair has label 0, or None if one has."""
        shown = data.shown is not None and len(data.shown.values) > 0
        return None if shown else "no training pair has label 0"

    def fit(self, data: BaselineData) -> None:
        """Fit the candidates' deviations, then the queries'."""
        assert data.shown is not None, "obstacle() requires labels"
        sides = (data.positives, data.shown)
        query = torch.cat([side.rows for side in sides])
        candidate = torch.cat([side.values.long() for side in sides])
        label = torch.arange(len(query)) < len(data.positives.values)
        self._mean = label.double().mean()
        deviation = label.double() - self._mean
        self._candidate = self._shrunk_means(candidate, deviation, data.num_candidates)  # (N,)
        num_queries = len(data.positives.offsets) - 1
        self._query = self._shrunk_means(query, deviation - self._candidate[candidate], num_queries)

    def _shrunk_means(self, keys: Tensor, values: Tensor, num_keys: int) -> Tensor:
        total = torch.bincount(keys, values, minlength=num_keys)
        return total / (torch.bincount(keys, minlength=num_keys) + self.shrink).clamp(min=1)

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return the probabilities (Q, N)."""
        query = self._query[batch.query_row.cpu()][:, None]
        return (self._mean + query + self._candidate).float()
