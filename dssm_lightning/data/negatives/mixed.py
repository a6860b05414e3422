"""Several samplers as one."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import Interactions
from dssm_lightning.data.negatives.base import NegativeSampler
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter, mix


class Mixed(NegativeSampler):
    """What several samplers draw, side by side.

    Args:
        samplers: all of them shared by the batch, or all with each row's own.

    Raises:
        ValueError: no sampler, shared ones beside rows' own, or two columns.
    """

    def __init__(self, samplers: list[NegativeSampler]) -> None:
        if not samplers:
            raise UserError("Mixed: samplers is empty; name at least one")
        if len({sampler.per_row for sampler in samplers}) > 1:
            found = ", ".join(f"{type(sampler).__name__} per_row={sampler.per_row}" for sampler in samplers)
            raise UserError(f"Mixed: samplers must be all shared by the batch or all per row; found {found}")
        columns = {sampler.column: sampler for sampler in samplers if sampler.column is not None}
        if len({(sampler.column, sampler.file) for sampler in columns.values()}) > 1:
            raise UserError(f"Mixed: samplers may read one column of negatives; found {', '.join(sorted(columns))}")
        super().__init__(sum(sampler.num_negatives for sampler in samplers), samplers[0].per_row)
        for self.column, reader in columns.items():
            self.file = reader.file
        self.samplers = samplers

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Binds each sampler."""
        for sampler in self.samplers:
            sampler.bind(interactions, num_queries, num_candidates, candidates)
        self.num_negatives = sum(sampler.num_negatives for sampler in self.samplers)

    @property
    def parts(self) -> list[NegativeSampler]:
        """Those that are mixed, of whatever is mixed in turn."""
        return [part for sampler in self.samplers for part in sampler.parts]

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64, in the order of the samplers."""
        # Each sampler has a seed of its own: two Uniform would otherwise draw the same.
        places = (counter._replace(seed=mix(counter.seed, i)) for i in range(len(self.samplers)))
        draws = [sampler.sample(place, rows) for sampler, place in zip(self.samplers, places, strict=True)]
        return torch.cat(draws, dim=-1)

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) the sum over the samplers."""
        return torch.stack([sampler.expected(ids) for sampler in self.samplers]).sum(0)

    def state_dict(self) -> dict[str, Any]:
        """That of each sampler which has one, by its place."""
        states = {str(place): sampler.state_dict() for place, sampler in enumerate(self.samplers)}
        return {place: state for place, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand each sampler its own."""
        for place, sampler in enumerate(self.samplers):
            sampler.load_state_dict(state.get(str(place), {}))
