"""The baseline of labelled pairs: the mean label of each candidate and of each query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_at_least


@dataclass(eq=False)
class LabelMeans(Baseline):
    """The mean label + the deviation of the candidate + the deviation of the query: μ + b_c + b_q.

    b_c = Σ (y − μ) / (n_c + shrink) over the candidate's n_c labelled training pairs, then
    b_q = Σ (y − μ − b_c) / (n_q + shrink) over the query's n_q pairs. Within a query the ranking depends on b_c alone.

    Source: the baseline estimate of Koren, KDD 2008, doi 10.1145/1401890.1401944, fitted in two steps.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> liked = Ragged.from_lengths(torch.tensor([0]), torch.tensor([1]))  # of one query
        >>> shown = Ragged.from_lengths(torch.tensor([1]), torch.tensor([1]))
        >>> baseline = LabelMeans(shrink=0.0)
        >>> baseline.fit(BaselineData(positives=liked, num_candidates=2, shown=shown))
        >>> baseline._candidate.tolist()
        [0.5, -0.5]
    """

    shrink: float = 10.0
    """Number of pairs without deviation that are added to each mean; 0 trusts a single pair."""

    def __post_init__(self) -> None:
        require_at_least("LabelMeans", "shrink", self.shrink, 0)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that no training pair has label 0."""
        shown = data.shown is not None and len(data.shown.values) > 0
        return None if shown else "no training pair has label 0"

    def fit(self, data: BaselineData) -> None:
        """Compute the deviations in two passes over the training pairs."""
        assert data.shown is not None, "obstacle() requires labels"
        sides = (data.positives, data.shown)
        query = torch.cat([side.rows for side in sides])
        candidate = torch.cat([side.values.long() for side in sides])
        label = torch.arange(len(query)) < len(data.positives.values)
        self._mean = label.double().mean()
        rest = label.double() - self._mean
        self._candidate = self._deviation(candidate, rest, data.num_candidates)  # (N,)
        self._query = self._deviation(query, rest - self._candidate[candidate], len(data.positives.offsets) - 1)

    def _deviation(self, keys: Tensor, values: Tensor, num_keys: int) -> Tensor:
        total = torch.bincount(keys, values, minlength=num_keys)
        return total / (torch.bincount(keys, minlength=num_keys) + self.shrink).clamp(min=1)

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N)."""
        of_query = self._query[batch.query_row.cpu()][:, None]
        return (self._mean + of_query + self._candidate).float()
