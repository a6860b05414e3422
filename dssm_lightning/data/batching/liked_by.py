"""The queries that like a candidate, assembled for each batch without the batch's own rows."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import LikedBy
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features, Ragged, take
from dssm_lightning.utils.seeding import Counter


class LikedByAssembler:
    """Assemble the column of one :class:`~dssm_lightning.features.LikedBy` feature for candidates.

    Args:
        feature: the fitted feature.
        queries: the encoded query table.
        interactions: the whole table.
        rows: the rows that like each candidate: N rows of interaction rows, ascending.

    Raises:
        UserError: the query feature varies by event.

    Example:
        >>> from dssm_lightning.data.grouped_events import rows_by_candidate
        >>> from dssm_lightning.data.interactions import TRAIN
        >>> fold = torch.tensor([TRAIN, TRAIN], dtype=torch.int8)
        >>> likes = Interactions(torch.tensor([0, 1]), torch.tensor([2, 2]), fold)
        >>> feature, rows = LikedBy(name="ages", of="age"), rows_by_candidate(likes, num_candidates=3)
        >>> ages = LikedByAssembler(feature, {"age": torch.tensor([30, 40])}, likes, rows)
        >>> ages.of_candidates(torch.tensor([2])).values.tolist()
        [30, 40]
    """

    def __init__(self, feature: LikedBy, queries: Features, interactions: Interactions, rows: Ragged) -> None:
        if feature.of not in queries:
            raise UserError(
                f"candidate feature {feature.name!r}: query feature {feature.of!r} is a column of the interactions, "
                "with one value for each event; move the column to the query table"
            )
        self.feature, self.column, self.query, self.rows = feature, queries[feature.of], interactions.query, rows

    def of_candidates(self, ids: Tensor, left_out: Tensor | None = None, dropout: Counter | None = None) -> Ragged:
        """Return the values of the queries that like each candidate.

        Args:
            ids: (C,) corpus rows.
            left_out: interaction rows that do not count, the rows of the batch in training; None = all training rows
                count.
            dropout: the place in the run, for dropout in training; None = no dropout.
        """
        liked = take(self.rows, ids)
        if left_out is not None:
            liked = liked.only(~torch.isin(liked.values, left_out))
        if dropout is not None and self.feature.dropout > 0:
            uniform = torch.rand(len(liked.values), generator=dropout.generator(f"liked by {self.feature.name}"))
            liked = liked.only(uniform >= self.feature.dropout)
        if self.feature.max_length is not None:
            place = torch.arange(len(liked.values))
            liked = liked.only(liked.offsets[1:][liked.rows] - place <= self.feature.max_length)
        queries = self.query[liked.values]
        if isinstance(self.column, Tensor):
            return Ragged(self.column[queries], liked.offsets)
        assert isinstance(self.column, Ragged)
        found = take(self.column, queries)
        return Ragged(found.values, found.offsets[liked.offsets])
