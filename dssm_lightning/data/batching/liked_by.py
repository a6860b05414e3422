"""What candidates were liked by: assembled for each batch, without the batch's own rows."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.features import LikedBy
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import Features, Ragged, take
from dssm_lightning.utils.seeding import Counter


class LikedByAssembler:
    """Turns candidates into the column of one :class:`~dssm_lightning.features.LikedBy` feature.

    Args:
        feature: the fitted feature.
        queries: the encoded query table.
        interactions: the whole table, of which only liked training rows count.
        num_candidates: N.

    Raises:
        ValueError: the query feature varies by event, so that a query has no one value.
    """

    def __init__(self, feature: LikedBy, queries: Features, interactions: Interactions, num_candidates: int) -> None:
        if feature.of not in queries:
            raise UserError(
                f"candidate feature {feature.name!r}: query feature {feature.of!r} is a column of the interactions, "
                "one value for each event; put the column into the query table"
            )
        self.feature, self.column, self.query = feature, queries[feature.of], interactions.query
        rows = interactions.rows(TRAIN, label=1)
        self.rows = group(gathered(interactions.candidate, rows), rows, num_candidates)  # N rows of interaction rows

    def of_candidates(self, ids: Tensor, held: Tensor | None = None, drop: Counter | None = None) -> Ragged:
        """What liked these corpus rows (C,): all that training knows, or, in training, all but the rows ``held``."""
        liked = take(self.rows, ids)
        if held is not None:
            liked = liked.only(~torch.isin(liked.values, held))
        if drop is not None and self.feature.dropout > 0:
            chance = torch.rand(len(liked.values), generator=drop.generator(f"liked by {self.feature.name}"))
            liked = liked.only(chance >= self.feature.dropout)
        if self.feature.max_length is not None:
            place = torch.arange(len(liked.values))
            liked = liked.only(liked.offsets[1:][liked.rows] - place <= self.feature.max_length)
        queries = self.query[liked.values]
        if isinstance(self.column, Tensor):
            return Ragged(self.column[queries], liked.offsets)
        assert isinstance(self.column, Ragged)
        found = take(self.column, queries)
        return Ragged(found.values, found.offsets[liked.offsets])
