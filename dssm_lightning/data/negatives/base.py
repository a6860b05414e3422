"""The base class of all samplers of negatives, and the tables that samplers read."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import Interactions
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter


class SamplerTables(NamedTuple):
    """The tables that a sampler of negatives reads.

    Example:
        >>> from dssm_lightning.data.negatives import Uniform
        >>> likes = Interactions(torch.tensor([0, 1]), torch.tensor([2, 0]), fold=torch.zeros(2, dtype=torch.int8))
        >>> sampler = Uniform(num_negatives=3)
        >>> sampler.bind(SamplerTables(likes, num_queries=2, num_candidates=10))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0, 1])).shape
        torch.Size([3])
    """

    interactions: Interactions
    """R events of all folds. A sampler may learn from the training rows only."""
    num_queries: int
    """Number of rows of the query table."""
    num_candidates: int
    """N, number of rows of the corpus."""
    candidates: pl.DataFrame | None = None
    """The corpus: N rows of raw columns, without image columns; None = not given."""


class NegativeSampler:
    """Draw corpus rows as negatives: (n,) that the batch shares, or (B, n), the negatives of each row.

    Args:
        num_negatives: n, for the whole batch or for each row.
        per_row: if true, each row has its own negatives, and no other candidate of the batch is its negative. If false,
            all rows share the negatives, and the other candidates of the batch are negatives, too.

    Raises:
        UserError: ``num_negatives`` is below 1; in :meth:`bind`, it is larger than the corpus.

    Example:
        >>> class Last(NegativeSampler):
        ...     def bind(self, tables):
        ...         super().bind(tables)
        ...         self.ids = torch.arange(tables.num_candidates)[-self.num_negatives :]
        ...
        ...     def sample(self, counter, rows):
        ...         return self.ids
        >>> sampler = Last(num_negatives=2)
        >>> sampler.bind(SamplerTables(Interactions(*torch.zeros(3, 1).long()), num_queries=1, num_candidates=9))
        >>> sampler.sample(Counter(seed=0), rows=torch.tensor([0])).tolist()
        [7, 8]
    """

    column: str | None = None
    """Interaction column whose lists of candidates must be in ``Interactions.negatives``; None = no column."""
    file: str | None = None
    """File that has this column, by query; None = the interactions have the column."""

    def __init__(self, num_negatives: int, per_row: bool = False) -> None:
        hint = "for in-batch negatives only, leave the sampler out"
        require_whole(type(self).__name__, "num_negatives", num_negatives, hint=hint)
        if num_negatives is None:
            raise UserError(f"{type(self).__name__}: num_negatives is None; it must be a whole number, at least 1")
        self.num_negatives, self.per_row = num_negatives, per_row

    def bind(self, tables: SamplerTables) -> None:
        """Learn from the training rows; called once, before the first :meth:`sample`."""
        if self.num_negatives > tables.num_candidates:
            raise UserError(
                f"{type(self).__name__}: num_negatives is {self.num_negatives}, "
                f"but the corpus has only {tables.num_candidates} candidates"
            )

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw corpus rows, int64: (n,), or (B, n) if ``per_row``; −1 fills a row that has fewer than n negatives.

        Args:
            counter: the place in the run.
            rows: (B,) int64 rows of the interaction table.
        """
        raise NotImplementedError

    def expected(self, ids: Tensor) -> Tensor:
        """Return the expected number of draws (C,) float64 of each corpus row, in a batch or, if ``per_row``, in a row.

        It is 0 if the draws do not come from a distribution over the corpus.
        """
        return torch.zeros(len(ids), dtype=torch.float64)

    @property
    def parts(self) -> list[NegativeSampler]:
        """The samplers that this sampler consists of: the sampler itself, or the parts of a mixture."""
        return [self]

    def state_dict(self) -> dict[str, Any]:
        """Return learned state for the checkpoint, as plain values and tensors; most samplers have none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore state; call :meth:`bind` first."""

    def _shape(self, rows: Tensor) -> tuple[int, ...]:
        return (len(rows), self.num_negatives) if self.per_row else (self.num_negatives,)


def sample_up_to(lists: Ragged, which: Tensor, limit: int, counter: Counter) -> Tensor:
    """Sample at most ``limit`` values of each chosen list, without replacement: (B, n), −1 after the end of a list.

    n is the limit, or the length of the longest chosen list if that is less. A longer list is sampled systematically,
    at equal steps from a random start: every value is equally likely, and the cost does not depend on the length.

    Args:
        lists: rows of values.
        which: (B,) the chosen rows.
        limit: largest number of values of a list.
        counter: the place in the run.
    """
    start = lists.offsets[which, None]  # (B, 1)
    length = lists.offsets[which + 1, None] - start  # (B, 1)
    place = torch.arange(min(limit, int(length.max())))  # (n,)
    phase = torch.rand(len(which), 1, dtype=torch.float64, generator=counter.generator("negatives"))  # (B, 1)
    stepped = ((place + phase) * length / limit).long().minimum(length - 1)  # (B, n) rounding may reach the length
    index = torch.where(length > limit, start + stepped, start + place)  # (B, n)
    inside = place < length
    return lists.values[index.where(inside, 0)].long().where(inside, -1)
