"""What flows from the data to the loss: named tuples of tensors, nothing else.

Shape letters, project-wide: B rows in a batch on one rank · Q queries scored · C candidates scored · N corpus size ·
D embedding width · L list length · W ranks · T values of a ragged column.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from dssm_lightning.utils.ragged import Features, Ragged


class Candidates(NamedTuple):
    """C *distinct* candidates of a batch: its positives and what was drawn, each once."""

    features: Features  # (C, …)
    id: Tensor  # (C,) int64 corpus rows, strictly ascending
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count
    # (C,) float32: how many rows of the batch own this candidate (0 for one that was only drawn)
    log_q: Tensor  # (C,) float32: log of the expected number of times a batch proposes it, log(B·p + n·q)


class Batch(NamedTuple):
    """One training batch."""

    query: Features  # (B, …)
    candidates: Candidates
    target: Tensor  # (B,) int64: the column of each row's own candidate
    negatives: Tensor | None  # (B, n) int64: the columns that count as this row's negatives; None = every column does
    known: Ragged | None  # corpus rows that each query is known to like: never its negatives
    label: Tensor | None  # (B,) float32: 1 liked / 0 shown and not liked; None = all liked
    weight: Tensor | None  # (B,) float32
    row: Tensor  # (B,) int64: the rows of the interaction table, for messages and for mining


class EvaluationBatch(NamedTuple):
    """Queries to be ranked against the whole corpus, with what is relevant to each."""

    query: Features  # (Q, …)
    query_row: Tensor  # (Q,) int64 rows of the query table
    relevant: Ragged  # corpus rows to be found
    seen: Ragged  # corpus rows liked in training, disjoint from relevant
    shown: Ragged | None  # corpus rows shown and not liked (label 0); None where the data has no labels
    row: Tensor | None = None  # (Q,) int64 rows of the interaction table, by event; None by query
    grade: Tensor | None = None  # (T,) float32: how relevant each of the relevant is; None = all alike
    num_liked: Tensor | None = None  # (Q,) int64 training positives of each; None = `seen` holds all of them

    @property
    def liked(self) -> Tensor:
        """(Q,) number of training positives of each query, also of those that are not ranked."""
        return self.seen.lengths if self.num_liked is None else self.num_liked
