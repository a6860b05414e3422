"""The base class of baselines, and the data that they are fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.liked_together import LikedTogether, liked_together
from dssm_lightning.evaluation.baselines.sparse_inverse import dense_side
from dssm_lightning.evaluation.evaluator import Evaluation, list_scores
from dssm_lightning.utils.ragged import Ragged


class TimedPositives(NamedTuple):
    """The training positives in the order of their times, and the time of every interaction.

    Example:
        >>> import torch
        >>> timed = TimedPositives(torch.tensor([4, 2]), torch.tensor([1.0, 3.0]), torch.tensor([3.0, 1.0, 9.0]))
        >>> timed.candidate.tolist(), timed.of_row[2].item()
        ([4, 2], 9.0)
    """

    candidate: Tensor  # (T,) int64 corpus rows
    time: Tensor  # (T,) float64 seconds, ascending
    of_row: Tensor  # (R,) float64 of each row of the interaction table


class Pictures(NamedTuple):
    """The pictures of queries and of the corpus, (·, channels, size, size) uint8; the last channel is the coverage.

    They are read here and not in a batch, which has the features of a frozen backbone in their place.
    """

    queries: Tensor  # rows of the query table
    corpus: Tensor  # N rows
    by_event: bool = False  # the queries' are rows of the interaction table


@dataclass(frozen=True, eq=False, kw_only=True)
class BaselineData:
    """The data that baselines are fitted on. They come from the training rows only, like the data of a model.

    Example:
        >>> import torch
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))  # query 1 likes candidate 0
        >>> data = BaselineData(positives=positives, num_candidates=2, corpus_texts=["red shoes", "green tea"])
        >>> data.positives.lengths.tolist()
        [2, 1]
    """

    positives: Ragged
    """For each row of the query table, the distinct corpus rows that the query likes in training."""
    num_candidates: int
    """Size of the corpus."""
    shown: Ragged | None = None
    """For each row of the query table, the corpus rows that were shown to the query in training and not liked (label
    0); None = the data have no labels."""
    evaluated: Tensor | None = None
    """(·,) int64 rows of the query table that will be ranked; None = any row may be."""
    query_texts: Sequence[str | None] | None = None
    """The text of each row of the query table; None = queries have no text."""
    corpus_texts: Sequence[str | None] | None = None
    """(N,) the text of each candidate; None = candidates have no text."""
    attributes: Mapping[str, Ragged] = field(default_factory=dict)
    """By the name of a categorical candidate feature, the category ids of each candidate (N rows)."""
    pictures: Pictures | None = None
    """The pictures of both sides; None = they have no pictures of one size and mode."""
    timed: TimedPositives | None = None
    """The training positives by time; None = interactions have no time."""

    @cached_property
    def has_histories(self) -> bool:
        """Whether a query that is ranked likes anything in training."""
        lengths = self.positives.lengths if self.evaluated is None else self.positives.lengths[self.evaluated]
        return bool((lengths > 0).any())

    @cached_property
    def together(self) -> LikedTogether:
        """The training positives without what says nothing of two candidates."""
        return liked_together(self.positives, self.num_candidates)

    @cached_property
    def dense_side(self) -> int:
        """Rows of the dense matrix that EASE inverts."""
        return dense_side(self.together)


class Baseline:
    """Base of methods without gradients that score every candidate for every query.

    ``str(baseline)`` is its name with its settings, as tables and files show it. A subclass implements ``fit`` and
    ``scores``.

    Example:
        >>> import torch
        >>> class ShortestText(Baseline):
        ...     def fit(self, data):
        ...         self.lengths = torch.tensor([float(len(text)) for text in data.corpus_texts])
        ...     def scores(self, batch):
        ...         return -self.lengths.expand(len(batch.query_row), -1)
        >>> nothing = Ragged.from_lengths(torch.tensor([], dtype=torch.int64), torch.tensor([0]))
        >>> baseline = ShortestText()
        >>> baseline.fit(BaselineData(positives=nothing, num_candidates=2, corpus_texts=["green tea", "shoes"]))
        >>> baseline.scores(EvaluationBatch({}, torch.tensor([0]), nothing, nothing, shown=None)).tolist()
        [[-9.0, -5.0]]
    """

    def obstacle(self, data: BaselineData) -> str | None:
        """Return the reason why this baseline cannot rank with such data, or None if it can."""
        return None

    def fit(self, data: BaselineData) -> None:
        """Learn from the data, and forget what an earlier call learned."""
        raise NotImplementedError

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N) float32 on the CPU: higher is better, and 0 if nothing is known."""
        raise NotImplementedError

    def evaluate(
        self, batches: Iterable[EvaluationBatch], evaluation: Evaluation, ranked: Tensor | None = None
    ) -> dict[str, float]:
        """Return the metrics of this fitted baseline.

        Args:
            batches: the queries that are ranked. With ``ranked``, their candidates are numbered by their place in it.
            evaluation: computes the metrics. It is reset first, and keeps its state afterwards.
            ranked: (M,) the corpus rows that are ranked; None = the whole corpus.
        """
        evaluation.reset()
        for batch in batches:
            scores = self.scores(batch)
            evaluation.update(list_scores(scores if ranked is None else scores[:, ranked], batch), batch)
        return evaluation.compute()
