"""Samplers that take negatives from the data: a column of lists, label-0 rows, or no negatives beside the label."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, group
from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables, sample_up_to
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter


class FromColumn(NegativeSampler):
    """Take the negatives that the data list for each interaction.

    Args:
        column: column of ``interactions`` with lists of candidate ids (in CSV and TSV as JSON, ``[1, 2]``).
        num_negatives: largest number for each row; of a longer list, each draw takes other candidates. None = all.
        file: CSV, TSV, JSON Lines or Parquet file with one row for each query: its id and this column, as the command
            ``mine`` writes it. The file replaces a column of the interactions, for any source.
        per_row: if true, a row has only the negatives of its own list. If false, the lists of all rows are negatives of
            every row, and the other candidates of the batch are negatives, too.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> worse = Ragged.from_lengths(torch.tensor([3, 4, 1]), torch.tensor([2, 1]))
        >>> query, candidate, fold = torch.tensor([0, 1]), torch.tensor([2, 0]), torch.zeros(2, dtype=torch.int8)
        >>> sampler = FromColumn("worse")
        >>> sampler.bind(SamplerTables(Interactions(query, candidate, fold, negatives=worse), 2, num_candidates=5))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0, 1])).tolist()
        [[3, 4], [1, -1]]
    """

    def __init__(
        self, column: str, num_negatives: int | None = None, file: str | None = None, per_row: bool = True
    ) -> None:
        super().__init__(1 if num_negatives is None else num_negatives, per_row)
        self.column, self.file = column, file
        self._limit = num_negatives

    def bind(self, tables: SamplerTables) -> None:
        """Take the lists of the interactions.

        Raises:
            UserError: the list of every training row is empty.
        """
        interactions = tables.interactions
        assert interactions.negatives is not None, "the data module reads `column` before it binds the sampler"
        self._lists = interactions.negatives
        longest = int(torch.where(interactions.fold == TRAIN, self._lists.lengths, 0).max())
        if longest == 0:
            raise UserError(f"FromColumn: column {self.column!r} lists no candidate in any training row")
        self.num_negatives = longest if self._limit is None else min(self._limit, longest)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (B, n) int64, n at most the length of the rows' longest list; shared: (T,), all lists together."""
        listed = sample_up_to(self._lists, rows, self.num_negatives, counter)
        return listed if self.per_row else listed[listed >= 0]


class FromShown(NegativeSampler):
    """Take candidates that the row's query was shown and did not like: its label-0 training rows.

    Args:
        num_negatives: largest number for each row; of a longer list, each draw takes other candidates.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> query, candidate, fold = torch.tensor([0, 0, 0]), torch.tensor([2, 3, 4]), torch.zeros(3, dtype=torch.int8)
        >>> shown = Interactions(query, candidate, fold, label=torch.tensor([1.0, 0.0, 0.0]))
        >>> sampler = FromShown(num_negatives=2)
        >>> sampler.bind(SamplerTables(shown, num_queries=1, num_candidates=5))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0])).tolist()
        [[3, 4]]
    """

    def __init__(self, num_negatives: int) -> None:
        super().__init__(num_negatives, per_row=True)

    def bind(self, tables: SamplerTables) -> None:
        """Group the label-0 training rows by query.

        Raises:
            UserError: the data have no labels, or no training row has label 0.
        """
        super().bind(tables)
        interactions = tables.interactions
        if interactions.label is None:
            raise UserError(
                "FromShown: the data have no labels, so no candidate is known to be shown and not liked; "
                "name the label column in the source, or draw negatives with Uniform"
            )
        shown = interactions.rows(TRAIN, label=0)
        if not len(shown):
            raise UserError("FromShown: no training interaction has label 0; draw negatives with Uniform")
        self._query = interactions.query
        self._lists = group(interactions.query[shown], interactions.candidate[shown], tables.num_queries)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (B, n) int64, n at most the length of the longest list of these rows' queries."""
        return sample_up_to(self._lists, self._query[rows], self.num_negatives, counter)


class ObservedOnly(NegativeSampler):
    """Draw no negatives: each row is one labelled pair, for losses that judge each pair by itself.

    The other candidates of the batch are no negatives, either. The model learns only from label-1 and label-0 rows, as
    a model that predicts ratings. Such a model separates shown candidates, but it has no reason to rank candidates that
    were never shown below liked ones. For retrieval, draw negatives.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> query, candidate, fold = torch.tensor([0, 0]), torch.tensor([2, 3]), torch.zeros(2, dtype=torch.int8)
        >>> sampler = ObservedOnly()
        >>> sampler.bind(SamplerTables(Interactions(query, candidate, fold, label=torch.tensor([1.0, 0.0])), 1, 5))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0, 1])).shape
        torch.Size([2, 0])
    """

    def __init__(self) -> None:
        super().__init__(1, per_row=True)
        self.num_negatives = 0

    def bind(self, tables: SamplerTables) -> None:
        """Check the labels.

        Raises:
            UserError: no training row has label 0.
        """
        interactions = tables.interactions
        if interactions.label is None or not len(interactions.rows(TRAIN, label=0)):
            found = "the data have no labels" if interactions.label is None else "no training interaction has label 0"
            raise UserError(
                f"ObservedOnly: {found}, so every pair is liked and the labels teach nothing; draw negatives with "
                "Uniform"
            )

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Return (B, 0) int64."""
        return torch.empty(len(rows), 0, dtype=torch.int64)
