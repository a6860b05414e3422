"""The value of each metric for each row of an evaluation, kept for whoever asks more than a mean."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils import distributed


class RowValues(NamedTuple):
    """R rows, ascending by query and, by event, by row of the interaction table; M metrics."""

    names: list[str]
    query: Tensor  # (R,) int64 rows of the query table
    event: Tensor | None  # (R,) int64 rows of the interaction table; None by query
    values: Tensor  # (R, M) float32, NaN where a row does not count for a metric


class RowKeeper:
    """Gathers the rows of all batches and ranks: 4 bytes for each row and metric.

    Args:
        names: the M metrics.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def add(self, query: Tensor, event: Tensor | None, values: Tensor) -> None:
        """Adds a batch: (Q,) rows of the query table, (Q,) rows of the interaction table or None, (Q, M) values."""
        self._keys.append(torch.stack([query, torch.full_like(query, -1) if event is None else event], dim=1))
        self._values.append(values.float())

    def gather(self) -> RowValues:
        """The rows of all ranks, on the CPU: a collective, for which every rank must have added a batch."""
        keys = distributed.gather_rows(torch.cat(self._keys)).cpu()  # (R, 2)
        values = distributed.gather_rows(torch.cat(self._values)).cpu()
        order = keys[:, 1].argsort(stable=True)
        order = order[keys[order, 0].argsort(stable=True)]
        query, event = keys[order].unbind(1)
        return RowValues(self.names, query, None if bool((event < 0).any()) else event, values[order])

    def clear(self) -> None:
        """Forgets all rows."""
        self._keys.clear()
        self._values.clear()
