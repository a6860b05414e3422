"""The value of each metric for each query or event of an evaluation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils import distributed


class RowValues(NamedTuple):
    """R rows, sorted by query and, by event, by row of the interaction table; M metrics.

    Example:
        >>> keeper = RowKeeper(["mrr"])
        >>> keeper.add(torch.tensor([4, 1]), None, torch.tensor([[0.5], [1.0]]))
        >>> rows = keeper.gather()
        >>> rows.names, rows.query.tolist(), rows.values.tolist()
        (['mrr'], [1, 4], [[1.0], [0.5]])
    """

    names: list[str]
    query: Tensor  # (R,) int64 rows of the query table
    event: Tensor | None  # (R,) int64 rows of the interaction table; None by query
    values: Tensor  # (R, M) float32, NaN where a row does not count for a metric


class RowKeeper:
    """Collects the rows of all batches and processes: 4 bytes for each row and metric.

    Args:
        names: the M metrics.

    Example:
        >>> keeper = RowKeeper(["mrr"])
        >>> keeper.add(torch.tensor([2, 2]), torch.tensor([9, 8]), torch.tensor([[0.5], [1.0]]))
        >>> keeper.gather().event.tolist()
        [8, 9]
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def add(self, query: Tensor, event: Tensor | None, values: Tensor) -> None:
        """Add a batch.

        Args:
            query: (Q,) rows of the query table.
            event: (Q,) rows of the interaction table; None by query.
            values: (Q, M) metrics.
        """
        self._keys.append(torch.stack([query, torch.full_like(query, -1) if event is None else event], dim=1))
        self._values.append(values.float())

    def gather(self) -> RowValues:
        """Return the rows of all processes, on the CPU.

        This is a collective: every process must call it, and must have added a batch before.
        """
        keys = distributed.gather_rows(torch.cat(self._keys)).cpu()  # (R, 2)
        values = distributed.gather_rows(torch.cat(self._values)).cpu()
        order = keys[:, 1].argsort(stable=True)
        order = order[keys[order, 0].argsort(stable=True)]
        query, event = keys[order].unbind(1)
        return RowValues(self.names, query, None if bool((event < 0).any()) else event, values[order])

    def clear(self) -> None:
        """Remove all rows."""
        self._keys.clear()
        self._values.clear()
