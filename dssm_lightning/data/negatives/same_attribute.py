"""Negatives that have something in common with the row's own candidate."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.data.negatives.base import NegativeSampler
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.seeding import Counter


class SameAttribute(NegativeSampler):
    """Candidates that share a value with the row's own: of its genre, its region, its shop; with replacement.

    They are harder than what ``Uniform`` draws, and teach what tells two candidates of a kind apart; mixed with it
    (``Mixed``), also what tells the kinds. Each draw takes one of the values of the row's own candidate that another
    candidate has too, each alike, and then one of the other candidates that have it, each alike. In a column of lists
    a candidate thus may share any of its values, and one that shares several comes more often. A row whose candidate
    shares no value with any has no negative here. A missing value is none.

    A draw depends on the row, so that :meth:`expected` can only be right for a row that is not known: what the average
    training row draws. ``SampledSoftmax``'s corrections by ``log_q`` then see a candidate as a negative of all rows
    together; losses that compare (``TripletMargin``, ``BPR``, ``WARP``) need none.

    Args:
        column: of the candidates, single values or lists of them.
        num_negatives: for each row, or, shared, for the whole batch.
        per_row: each row has its own. Otherwise every draw is for a row of the batch chosen at random, and is a
            negative of all rows.

    Raises:
        ValueError: in ``bind``, the candidates have no such column, or no two of them share a value.
    """

    def __init__(self, column: str, num_negatives: int, per_row: bool = True) -> None:
        super().__init__(num_negatives, per_row)
        self.attribute = column  # `column` is what is read from the interactions

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Groups the corpus by value."""
        super().bind(interactions, num_queries, num_candidates, candidates)
        assert candidates is not None, "who binds has the corpus"
        if self.attribute not in candidates.columns:
            raise UserError(
                f"SameAttribute: no candidate column {self.attribute!r}; the candidates have "
                f"{', '.join(candidates.columns)}"
            )
        candidate, value = _shared_values(candidates[self.attribute])  # (T,) each
        if not len(value):
            raise UserError(f"SameAttribute: no two candidates share a value of column {self.attribute!r}")
        self._values = group(candidate, value, num_candidates)  # of each candidate
        self._members = group(value, candidate, int(value.max()) + 1)  # of each value, ascending
        self._own = interactions.candidate
        liked = gathered(interactions.candidate, interactions.rows(TRAIN, label=1))
        self._expected = self.num_negatives * self._chance(torch.bincount(liked, minlength=num_candidates).double())

    def _chance(self, likes: Tensor) -> Tensor:
        """(N,) how likely one draw for a random training positive is to be each candidate, from their likes (N,)."""
        values, owner = self._values.values, self._values.rows
        of_row = likes / likes.sum() / self._values.lengths.clamp(min=1)  # (N,) it is the row's, and takes one value
        chosen = of_row[owner]  # (T,)
        of_value = torch.zeros(len(self._members.lengths), dtype=torch.float64).index_add_(0, values, chosen)
        by_others = (of_value[values] - chosen) / (self._members.lengths[values] - 1)  # (T,)
        return torch.zeros(len(likes), dtype=torch.float64).index_add_(0, owner, by_others)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, or (n,) shared; −1 where a row's candidate shares no value."""
        generator = counter.generator("negatives")
        if self.per_row:
            return self._others(self._own[rows, None].expand(-1, self.num_negatives), generator)
        chosen = torch.randint(len(rows), (self.num_negatives,), generator=generator)
        return self._others(self._own[rows[chosen]], generator)

    def _others(self, own: Tensor, generator: torch.Generator) -> Tensor:
        """For candidates of any shape one other each that shares a value, −1 where there is none."""
        place, number = torch.rand((2, *own.shape), dtype=torch.float64, generator=generator)
        lengths = self._values.lengths[own]
        there = lengths > 0
        value = self._values.values[torch.where(there, self._values.offsets[own] + (place * lengths).long(), 0)]
        # Of a value's members all but the row's own: the one that is drawn in its stead is the last.
        start, others = self._members.offsets[value], self._members.lengths[value] - 1
        drawn = self._members.values[start + (number * others).long()]
        last = self._members.values[start + others]
        return torch.where(drawn == own, last, drawn).where(there, -1)

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n times the chance of one draw for a training positive chosen at random."""
        return self._expected[ids]


def _shared_values(column: pl.Series) -> tuple[Tensor, Tensor]:
    """(T,) corpus rows and (T,) numbers of their values, each pair once, of values that several candidates have."""
    frame = pl.DataFrame({"candidate": np.arange(len(column)), "value": column})
    if isinstance(column.dtype, pl.List | pl.Array):
        frame = frame.explode("value")
    pairs = frame.drop_nulls().unique(maintain_order=True)
    pairs = pairs.filter(pl.len().over("value") > 1)
    value = pairs["value"].rank("dense").cast(pl.Int64) - 1
    return torch.from_numpy(pairs["candidate"].to_numpy().copy()), torch.from_numpy(value.to_numpy().copy())
