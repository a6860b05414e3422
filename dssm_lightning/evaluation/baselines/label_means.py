"""The baseline of labelled pairs: how readily a query likes, and how readily a candidate is liked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import UserError


@dataclass(eq=False)
class LabelMeans(Baseline):
    """The chance that a pair is liked, as overall mean + the candidate's deviation + the query's: μ + b_c + b_q.

    b_c = Σ (y − μ) / (n_c + shrink) over the candidate's n_c labelled training pairs, then
    b_q = Σ (y − μ − b_c) / (n_q + shrink) over the query's. Within a query it ranks by b_c alone.

    Source: the baseline estimate of Koren, KDD 2008, doi 10.1145/1401890.1401944, fitted in two steps.
    """

    shrink: float = 10.0
    """So many pairs of no deviation are added to each mean; 0 trusts a single pair."""

    def __post_init__(self) -> None:
        if self.shrink < 0:
            raise UserError(f"{self}: shrink must not be negative")

    def obstacle(self, data: BaselineData) -> str | None:
        """Nothing is known to be shown and not liked."""
        shown = data.shown is not None and len(data.shown.values) > 0
        return None if shown else "no training pair has label 0"

    def fit(self, data: BaselineData) -> None:
        """Two passes over the training pairs."""
        assert data.shown is not None, "obstacle() asks for it"
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
