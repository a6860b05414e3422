"""Negatives that share an attribute with the row's own candidate."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, group
from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.seeding import Counter
from dssm_lightning.utils.suggestions import did_you_mean


class SameAttribute(NegativeSampler):
    """Draw candidates that share a value with the row's own candidate, such as its genre, with replacement.

    Such negatives are harder than uniform ones, and teach the model to separate candidates of the same kind. ``Mixed``
    with ``Uniform``, the model also learns to separate the kinds. Each draw first chooses one of the values that the
    row's own candidate shares with another candidate, then one of the other candidates with that value; both choices
    are uniform. In a column of lists, candidates may share any value, so a candidate that shares several values is
    drawn more often. A row has no negative if its candidate shares no value. Missing values are not compared.

    The draws depend on the row, so :meth:`expected` describes an average training row. With the corrections by
    ``log_q``, ``SampledSoftmax`` treats such a candidate as a negative of all rows together. Pairwise losses
    (``TripletMargin``, ``BPR``, ``WARP``) need no correction.

    Args:
        column: column of the candidates, single values or lists of values.
        num_negatives: number for each row, or for the whole batch if shared.
        per_row: if true, each row has its own negatives. If false, each draw is made for a random row of the batch and
            is a negative of all rows.

    Raises:
        UserError: in :meth:`bind`, the candidates have no such column, or no two candidates share a value.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> films = pl.DataFrame({"genre": ["drama", "comedy", "drama", None]})
        >>> likes = Interactions(torch.tensor([0, 1]), torch.tensor([2, 1]), torch.zeros(2, dtype=torch.int8))
        >>> sampler = SameAttribute("genre", num_negatives=2)
        >>> sampler.bind(SamplerTables(likes, num_queries=2, num_candidates=4, candidates=films))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0, 1])).tolist()  # the comedy is the only one
        [[0, 0], [-1, -1]]
    """

    def __init__(self, column: str, num_negatives: int, per_row: bool = True) -> None:
        super().__init__(num_negatives, per_row)
        self.attribute = column  # `column` is a column of the interactions

    def bind(self, tables: SamplerTables) -> None:
        """Group the corpus by value."""
        super().bind(tables)
        interactions, num_candidates, candidates = tables.interactions, tables.num_candidates, tables.candidates
        assert candidates is not None, "SameAttribute reads the raw columns of the corpus"
        if self.attribute not in candidates.columns:
            raise UserError(
                f"SameAttribute: no candidate column {self.attribute!r}; candidates has "
                f"{', '.join(candidates.columns)} (columns of bytes are not kept)"
                f"{did_you_mean(self.attribute, candidates.columns)}"
            )
        candidate, value = _shared_values(candidates[self.attribute])  # (T,) each
        if not len(value):
            raise UserError(f"SameAttribute: no two candidates share a value of column {self.attribute!r}")
        self._values = group(candidate, value, num_candidates)  # of each candidate
        self._members = group(value, candidate, int(value.max()) + 1)  # of each value, ascending
        self._own = interactions.candidate
        liked = gathered(interactions.candidate, interactions.rows(TRAIN, label=1))
        self._expected = self.num_negatives * self._probability(
            torch.bincount(liked, minlength=num_candidates).double()
        )

    def _probability(self, likes: Tensor) -> Tensor:
        """Return the probability (N,) of each candidate in one draw for a random training positive.

        Args:
            likes: (N,) float64 number of training positives of each candidate.
        """
        values, owner = self._values.values, self._values.rows  # (T,) each: a value, and the candidate that has it
        # (N,) probability that the row's own candidate is this one and that a given value of it is chosen
        per_value = likes / likes.sum() / self._values.lengths.clamp(min=1)
        chosen = per_value[owner]  # (T,)
        of_value = torch.zeros(len(self._members.lengths), dtype=torch.float64).index_add_(0, values, chosen)
        by_others = (of_value[values] - chosen) / (self._members.lengths[values] - 1)  # (T,)
        return torch.zeros(len(likes), dtype=torch.float64).index_add_(0, owner, by_others)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (B, n) int64, or (n,) shared; −1 if the row's candidate shares no value."""
        generator = counter.generator("negatives")
        if self.per_row:
            return self._others(self._own[rows, None].expand(-1, self.num_negatives), generator)
        chosen = torch.randint(len(rows), (self.num_negatives,), generator=generator)
        return self._others(self._own[rows[chosen]], generator)

    def _others(self, own: Tensor, generator: torch.Generator) -> Tensor:
        """Draw another candidate with a common value for each candidate (any shape), −1 if there is none."""
        place, number = torch.rand((2, *own.shape), dtype=torch.float64, generator=generator)
        lengths = self._values.lengths[own]
        shares = lengths > 0
        value = self._values.values[torch.where(shares, self._values.offsets[own] + (place * lengths).long(), 0)]
        # Draw among all members but the last; if the draw is the row's own candidate, take the last member instead.
        start, others = self._members.offsets[value], self._members.lengths[value] - 1
        drawn = self._members.values[start + (number * others).long()]
        last = self._members.values[start + others]
        return torch.where(drawn == own, last, drawn).where(shares, -1)

    def expected(self, ids: Tensor) -> Tensor:
        """Return n times the probability of one draw for a random training positive, (C,)."""
        return self._expected[ids]


def _shared_values(column: pl.Series) -> tuple[Tensor, Tensor]:
    """Return (T,) corpus rows and (T,) value numbers: each pair once, only values that several candidates have."""
    frame = pl.DataFrame({"candidate": np.arange(len(column)), "value": column})
    if isinstance(column.dtype, pl.List | pl.Array):
        frame = frame.explode("value")
    if frame["value"].dtype.is_float():
        frame = frame.with_columns(pl.col("value").fill_nan(None))
    pairs = frame.drop_nulls().unique(maintain_order=True)
    pairs = pairs.filter(pl.len().over("value") > 1)
    value = pairs["value"].rank("dense").cast(pl.Int64) - 1
    return torch.from_numpy(pairs["candidate"].to_numpy().copy()), torch.from_numpy(value.to_numpy().copy())
