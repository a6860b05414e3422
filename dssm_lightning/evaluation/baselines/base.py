"""What every baseline is: fitted once on what a model may know, too, then scoring queries against the whole corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True, eq=False, kw_only=True)
class BaselineData:
    """What a baseline may know. It must come from the rows that the model is fitted on, and from no others."""

    positives: Ragged
    """One row for each row of the query table: the distinct corpus rows that it is known to like, from training."""
    num_candidates: int
    """Size of the corpus."""
    shown: Ragged | None = None
    """Likewise, what each query was shown and did not like in training (label 0); None = the data have no labels."""
    evaluated: Tensor | None = None
    """(·,) int64: rows of the query table that will be ranked; None = any of them."""
    query_texts: Sequence[str | None] | None = None
    """What each query says, by row of the query table; None = queries have no text."""
    corpus_texts: Sequence[str | None] | None = None
    """What each candidate says; None = candidates have no text."""
    attributes: Mapping[str, Ragged] = field(default_factory=dict)
    """By name the values of each candidate's categories, N rows of ids."""


class Baseline:
    """Scores every candidate for every query, without gradients. ``str(baseline)`` names it with its settings."""

    def obstacle(self, data: BaselineData) -> str | None:
        """Why this baseline says nothing on such data, for people; None if it can be fitted."""
        return None

    def fit(self, data: BaselineData) -> None:
        """Learns from the data; what was learnt before is forgotten."""
        raise NotImplementedError

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N) float32 on the CPU: higher is better, 0 is what nothing is known of."""
        raise NotImplementedError

    def evaluate(
        self, batches: Iterable[EvaluationBatch], evaluation: Evaluation, ranked: Tensor | None = None
    ) -> dict[str, float]:
        """The metrics of this fitted baseline; ``evaluation`` forgets what was before, and keeps what it is given.

        Args:
            batches: what is ranked; where ``ranked`` is given, their candidates are numbered by it.
            evaluation: gathers the metrics.
            ranked: (M,) the rows of the corpus that are ranked; None = all.
        """
        evaluation.reset()
        for batch in batches:
            scores = self.scores(batch)
            evaluation.update(scores if ranked is None else scores[:, ranked], batch)
        return evaluation.compute()
