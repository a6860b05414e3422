"""What every sampler of negatives is."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import Interactions
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter


class NegativeSampler:
    """Interaction rows (B,) -> corpus rows: (n,) that the batch shares, or (B, n) with each row's own.

    Args:
        num_negatives: n, for the whole batch or for each row.
        per_row: each row has its own, and only they are its negatives; otherwise the rows share them, and the batch's
            other candidates are negatives as well.

    Raises:
        ValueError: ``num_negatives`` is not positive; in ``bind``, it is more than the corpus has.
    """

    column: str | None = None
    """Interaction column whose lists of candidates must be in ``Interactions.negatives``."""
    file: str | None = None
    """The file that has this column, by query; None = the interactions have it."""

    def __init__(self, num_negatives: int, per_row: bool = False) -> None:
        if num_negatives <= 0:
            raise UserError(
                f"{type(self).__name__}: num_negatives is {num_negatives}; it must be positive "
                "(for in-batch negatives alone, leave the sampler out)"
            )
        self.num_negatives, self.per_row = num_negatives, per_row

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Learns what it draws from; called once, before the first ``sample``.

        Args:
            interactions: the whole table; only its training rows may teach anything.
            num_queries: rows of the query table.
            num_candidates: N, rows of the corpus.
            candidates: the corpus' raw columns but pictures, N rows, for who draws by them.
        """
        if self.num_negatives > num_candidates:
            raise UserError(
                f"{type(self).__name__}: num_negatives is {self.num_negatives}, "
                f"but the corpus has only {num_candidates} candidates"
            )

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """int64 corpus rows, (n,) or (B, n) as ``per_row`` says; −1 where a row has fewer than n.

        ``rows`` (B,) are int64 rows of the interaction table, ``counter`` says where in the run this is.
        """
        raise NotImplementedError

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) float64: how often one batch (``per_row``: one of its rows) is expected to draw each corpus row.

        0 for what does not come from a distribution over the corpus.
        """
        return torch.zeros(len(ids), dtype=torch.float64)

    @property
    def parts(self) -> list[NegativeSampler]:
        """The samplers that this one is made of: itself, unless it joins others."""
        return [self]

    def state_dict(self) -> dict[str, Any]:
        """What was learnt on the way to draw from, as plain values and tensors for the checkpoint; mostly nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it, bound already."""

    def _shape(self, rows: Tensor) -> tuple[int, ...]:
        return (len(rows), self.num_negatives) if self.per_row else (self.num_negatives,)


def sample_up_to(lists: Ragged, which: Tensor, limit: int, counter: Counter) -> Tensor:
    """(B, n) values of the lists (B,), −1 after the end of a shorter one; n = limit, or the longest length if less.

    A list longer than the limit is sampled systematically, at equal steps from a random start: each value is equally
    likely, none comes twice, and the cost does not depend on the length.
    """
    start = lists.offsets[which, None]  # (B, 1)
    length = lists.offsets[which + 1, None] - start  # (B, 1)
    place = torch.arange(min(limit, int(length.max())))  # (n,)
    phase = torch.rand(len(which), 1, dtype=torch.float64, generator=counter.generator("negatives"))  # (B, 1)
    stepped = ((place + phase) * length / limit).long().minimum(length - 1)  # (B, n) rounding may reach the length
    index = torch.where(length > limit, start + stepped, start + place)  # (B, n)
    inside = place < length
    return lists.values[index.where(inside, 0)].long().where(inside, -1)
