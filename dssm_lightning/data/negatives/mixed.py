"""A sampler that combines several samplers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter, mix


class Mixed(NegativeSampler):
    """Concatenate the draws of several samplers.

    Args:
        samplers: samplers that all share their negatives with the batch, or that all draw per row.

    Raises:
        UserError: no sampler; shared samplers together with per-row samplers; two columns.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> from dssm_lightning.data.negatives import Popularity, Uniform
        >>> likes = Interactions(torch.tensor([0, 1]), torch.tensor([2, 2]), torch.zeros(2, dtype=torch.int8))
        >>> sampler = Mixed([Uniform(5), Popularity(2)])
        >>> sampler.bind(SamplerTables(likes, num_queries=2, num_candidates=5))
        >>> sampler.num_negatives, sampler.expected(torch.arange(5)).tolist()
        (7, [1.0, 1.0, 3.0, 1.0, 1.0])
    """

    def __init__(self, samplers: list[NegativeSampler]) -> None:
        if not samplers:
            raise UserError("Mixed: samplers is empty; name at least one sampler")
        if len({sampler.per_row for sampler in samplers}) > 1:
            found = ", ".join(f"{type(sampler).__name__} per_row={sampler.per_row}" for sampler in samplers)
            raise UserError(f"Mixed: either all samplers or none must draw per row; found {found}")
        columns = {sampler.column: sampler for sampler in samplers if sampler.column is not None}
        if len({(sampler.column, sampler.file) for sampler in columns.values()}) > 1:
            raise UserError(f"Mixed: at most one column of negatives can be read; found {', '.join(sorted(columns))}")
        super().__init__(sum(sampler.num_negatives for sampler in samplers), samplers[0].per_row)
        for self.column, reader in columns.items():
            self.file = reader.file
        self.samplers = samplers

    def bind(self, tables: SamplerTables) -> None:
        """Bind each sampler."""
        for sampler in self.samplers:
            sampler.bind(tables)
        self.num_negatives = sum(sampler.num_negatives for sampler in self.samplers)

    @property
    def parts(self) -> list[NegativeSampler]:
        """The samplers of the mixture; a mixture within the mixture is replaced by its parts."""
        return [part for sampler in self.samplers for part in sampler.parts]

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (n,) or (B, n) int64, in the order of the samplers."""
        # Each sampler has its own seed. Otherwise two Uniform samplers would draw the same numbers.
        places = (counter._replace(seed=mix(counter.seed, i)) for i in range(len(self.samplers)))
        draws = [sampler.sample(place, rows) for sampler, place in zip(self.samplers, places, strict=True)]
        return torch.cat(draws, dim=-1)

    def expected(self, ids: Tensor) -> Tensor:
        """Return the sum of the samplers' expected numbers of draws, (C,)."""
        return torch.stack([sampler.expected(ids) for sampler in self.samplers]).sum(0)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the samplers that have one, by their place in the list."""
        states = {str(place): sampler.state_dict() for place, sampler in enumerate(self.samplers)}
        return {place: state for place, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of each sampler."""
        for place, sampler in enumerate(self.samplers):
            sampler.load_state_dict(state.get(str(place), {}))
