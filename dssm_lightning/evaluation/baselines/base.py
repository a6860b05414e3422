"""The base of all baselines: fitted on the training rows, then scoring queries against the whole corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True, eq=False, kw_only=True)
class BaselineData:
    """The data that a baseline may use: those that a model may be fitted on, and no others.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> data = BaselineData(positives=Ragged(torch.tensor([1]), torch.tensor([0, 1])), num_candidates=2)
        >>> data.positives.lengths.tolist()
        [1]
    """

    positives: Ragged
    """One row for each row of the query table: the distinct corpus rows of its training positives."""
    num_candidates: int
    """Size of the corpus."""
    shown: Ragged | None = None
    """For each row of the query table the corpus rows with label 0 in training; None = the data have no labels."""
    evaluated: Tensor | None = None
    """int64 rows of the query table that will be ranked; None = any row."""
    query_texts: Sequence[str | None] | None = None
    """The text of each row of the query table; None = queries have no text."""
    corpus_texts: Sequence[str | None] | None = None
    """The text of each candidate; None = candidates have no text."""
    attributes: Mapping[str, Ragged] = field(default_factory=dict)
    """The ids of each candidate's categories (N rows), by the name of the feature."""


class Baseline:
    """A method without gradients that scores every candidate for every query.

    ``str(baseline)`` is its name with its settings.

    Example:
        >>> class Random(Baseline):
        ...     def fit(self, data):
        ...         self.size = data.num_candidates
        ...
        ...     def scores(self, batch):
        ...         return torch.rand(len(batch.query_row), self.size)
        >>> Random().obstacle(None) is None
        True
    """

    def obstacle(self, data: BaselineData) -> str | None:
        """Return why this baseline cannot be fitted on the data; None if it can."""
        return None

    def fit(self, data: BaselineData) -> None:
        """Learn from the data, and forget earlier data."""
        raise NotImplementedError

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return (Q, N) float32 scores on the CPU: higher is better, 0 = nothing is known of the candidate."""
        raise NotImplementedError

    def evaluate(
        self, batches: Iterable[EvaluationBatch], evaluation: Evaluation, ranked: Tensor | None = None
    ) -> dict[str, float]:
        """Return the metrics of this fitted baseline.

        Args:
            batches: the queries or events to rank; with ``ranked``, their candidates are numbered by its rows.
            evaluation: gathers the metrics, and holds them afterwards.
            ranked: (M,) the rows of the corpus that are ranked; None = all.
        """
        evaluation.reset()
        for batch in batches:
            scores = self.scores(batch)
            evaluation.update(scores if ranked is None else scores[:, ranked], batch)
        return evaluation.compute()
