"""Samplers that take what the data says of a row: names for it, showed its query, or nothing but its label."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.data.negatives.base import NegativeSampler, sample_up_to
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter


class FromColumn(NegativeSampler):
    """Those that the data itself names for an interaction.

    Args:
        column: of ``interactions``, holding lists of candidate ids (in CSV and TSV as JSON, ``[1, 2]``).
        num_negatives: at most so many for each row, others at each draw where a row names more; None = all.
        file: CSV, TSV, JSON Lines or Parquet with a row for each query, its id and this column, as ``mine`` writes it:
            read in place of a column of the interactions, whatever the source.
        per_row: what a row names is its alone, and all that it gets. Otherwise what any row of the batch names is a
            negative of all of them, beside the batch's other candidates.
    """

    def __init__(
        self, column: str, num_negatives: int | None = None, file: str | None = None, per_row: bool = True
    ) -> None:
        super().__init__(1 if num_negatives is None else num_negatives, per_row)
        self.column, self.file = column, file
        self._limit = num_negatives

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Takes the lists of the interactions.

        Raises:
            ValueError: no training row names a negative.
        """
        assert interactions.negatives is not None, "the data module resolves `column` before it binds"
        self._lists = interactions.negatives
        longest = int(torch.where(interactions.fold == TRAIN, self._lists.lengths, 0).max())
        if longest == 0:
            raise UserError(f"FromColumn: no training interaction names a candidate in column {self.column!r}")
        self.num_negatives = longest if self._limit is None else self._limit

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, n no larger than the longest list of these rows; shared: (T,), what the lists have together."""
        named = sample_up_to(self._lists, rows, self.num_negatives, counter)
        return named if self.per_row else named[named >= 0]


class FromShown(NegativeSampler):
    """What the row's query was shown and did not like: its label-0 training rows.

    Args:
        num_negatives: at most so many for each row, others at each draw where the query was shown more.
    """

    def __init__(self, num_negatives: int) -> None:
        super().__init__(num_negatives, per_row=True)

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Groups the label-0 training rows by query.

        Raises:
            ValueError: the data has no labels, or no label-0 row to train on.
        """
        super().bind(interactions, num_queries, num_candidates, candidates)
        if interactions.label is None:
            raise UserError(
                "FromShown: the data has no labels, so nothing is known to be shown and not liked; "
                "name the label's column in the source, or draw negatives with Uniform"
            )
        shown = interactions.rows(TRAIN, label=0)
        if not len(shown):
            raise UserError("FromShown: no training interaction has label 0; draw negatives with Uniform")
        self._query = interactions.query
        self._lists = group(interactions.query[shown], interactions.candidate[shown], num_queries)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, n no larger than the longest list of these rows' queries."""
        return sample_up_to(self._lists, self._query[rows], self.num_negatives, counter)


class ObservedOnly(NegativeSampler):
    """None at all: a row is its own labelled pair and nothing else, for losses that judge each pair by itself.

    What was shown and not liked says all there is to learn, as for a model that predicts a rating; the batch's other
    candidates are no negatives either. Such a model tells what was shown apart, and has no reason to rank what never
    was below what was liked: for retrieval, draw negatives.
    """

    def __init__(self) -> None:
        super().__init__(1, per_row=True)
        self.num_negatives = 0

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Nothing to learn.

        Raises:
            ValueError: no training row has label 0.
        """
        if interactions.label is None or not len(interactions.rows(TRAIN, label=0)):
            found = "the data has no labels" if interactions.label is None else "no training interaction has label 0"
            raise UserError(
                f"ObservedOnly: {found}, so that every pair is liked and there is nothing to tell apart; draw "
                "negatives with Uniform"
            )

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, 0) int64."""
        return torch.empty(len(rows), 0, dtype=torch.int64)
