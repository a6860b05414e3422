"""The named tuples of tensors that pass from the data to the loss and to the evaluation.

Shape letters of the whole project: B rows of a batch in one process · Q queries scored · C candidates scored · N size
of the corpus · D width of an embedding · L length of a list · W number of processes · T values of a ragged column.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils.ragged import Features, Ragged


class Candidates(NamedTuple):
    """The C distinct candidates of a batch: the rows' own candidates and the sampled ones, each of them once.

    Example:
        >>> import torch
        >>> ids, count = torch.tensor([3, 7]), torch.tensor([2.0, 0.0])
        >>> candidates = Candidates({"colour": torch.tensor([1, 4])}, ids, count, log_q=torch.zeros(2))
        >>> candidates.id[candidates.count > 0].tolist()
        [3]
    """

    features: Features  # (C, …)
    id: Tensor  # (C,) int64 corpus rows, strictly ascending
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count
    # (C,) float32: the number of rows of the batch that own this candidate; 0 for a candidate that was only sampled
    log_q: Tensor  # (C,) float32: log of the expected number of times that a batch proposes it, log(B·p + n·q)


class Batch(NamedTuple):
    """One training batch.

    Example:
        >>> import torch
        >>> colours, ids = {"colour": torch.tensor([1, 4])}, torch.tensor([3, 7])
        >>> candidates = Candidates(colours, ids, count=torch.tensor([2.0, 1.0]), log_q=torch.zeros(2))
        >>> rest = {"negatives": None, "known": None, "label": None, "weight": None, "row": torch.arange(3)}
        >>> batch = Batch({"age": torch.tensor([5, 6, 5])}, candidates, target=torch.tensor([0, 1, 0]), **rest)
        >>> batch.candidates.id[batch.target].tolist()
        [3, 7, 3]
    """

    query: Features  # (B, …)
    candidates: Candidates
    target: Tensor  # (B,) int64: the column of each row's own candidate
    negatives: Tensor | None  # (B, n) int64: the columns that are negatives of this row; None = every column is one
    known: Ragged | None  # B rows of corpus rows: the known positives of each query, which are never its negatives
    label: Tensor | None  # (B,) float32: 1 liked, 0 shown and not liked; None = all liked
    weight: Tensor | None  # (B,) float32
    row: Tensor  # (B,) int64: rows of the interaction table, for messages and for mining
    num_candidates: int | None = None  # N, the size of the corpus; None = not known
    objectives: dict[str, Tensor] | None = None  # by name (B,) float32: 1 for a positive of the objective, else 0
    rating: Tensor | None = None  # (B,) float32: in standard deviations from the mean; NaN = not rated


class EvaluationBatch(NamedTuple):
    """Queries that are ranked against the whole corpus or their own lists, and the relevant candidates of each query.

    Example:
        >>> import torch
        >>> relevant = Ragged.from_lengths(torch.tensor([4, 2, 9]), torch.tensor([2, 1]))
        >>> seen = Ragged.from_lengths(torch.tensor([0, 1, 5]), torch.tensor([1, 2]))
        >>> batch = EvaluationBatch({"age": torch.tensor([5, 6])}, torch.tensor([0, 1]), relevant, seen, shown=None)
        >>> batch.relevant.lengths.tolist(), batch.liked.tolist()
        ([2, 1], [1, 2])
    """

    query: Features  # (Q, …)
    query_row: Tensor  # (Q,) int64 rows of the query table
    relevant: Ragged  # Q rows of corpus rows: the candidates that should be found
    seen: Ragged  # Q rows of corpus rows: training positives, disjoint from `relevant`
    shown: Ragged | None  # Q rows of corpus rows: shown and not liked (label 0); None if the data have no labels
    row: Tensor | None = None  # (Q,) int64 rows of the interaction table, if evaluated by event; None by query
    grade: Tensor | None = None  # (T,) float32: the grade of each relevant candidate; None = all have the same grade
    num_liked: Tensor | None = None  # (Q,) int64 number of training positives; None = `seen` holds all of them
    listed: Ragged | None = None  # Q rows of corpus rows, ascending: each query's own list; None = all are ranked
    objectives: Tensor | None = None  # (T, O) bool: the objectives of each relevant candidate; None = there are none

    @classmethod
    def empty(cls, device: torch.device, labelled: bool, num_objectives: int) -> EvaluationBatch:
        """Return a batch without a query."""
        none = torch.zeros(0, dtype=torch.int64, device=device)
        nothing = Ragged(none, none.new_zeros(1))
        several = torch.zeros(0, num_objectives, dtype=torch.bool, device=device) if num_objectives else None
        return cls({}, none, nothing, nothing, nothing if labelled else None, objectives=several)

    @property
    def liked(self) -> Tensor:
        """(Q,) number of training positives of each query, including those that are not ranked."""
        return self.seen.lengths if self.num_liked is None else self.num_liked
