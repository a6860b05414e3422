"""How many rows of an epoch had no negative that they could be compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.utils import distributed


class RowsWithoutNegatives:
    """A count over the batches of an epoch and over all ranks, of rows that a loss which compares gives no weight.

    A batch counts when its step is made, so that one that is interrupted leaves no trace.
    """

    def __init__(self) -> None:
        self._counted: Tensor | int = 0  # on this rank
        self._held: Tensor | int = 0  # of batches whose step is not made

    def hold(self, rows: Tensor) -> None:
        """Keep how many of a batch's rows (B,) are such until :meth:`commit`."""
        self._held = self._held + rows.sum()  # stays on the device: nobody waits for it

    def commit(self) -> None:
        """Count what is held."""
        self._counted, self._held = self._counted + self._held, 0

    def total(self, device: torch.device) -> int:
        """Of all ranks: a collective that every rank must call, each with its own device."""
        return int(distributed.sum_over_ranks(torch.as_tensor(self._counted, device=device)))

    def restart(self, total: int = 0) -> None:
        """Count from here on, beginning with what all ranks had together."""
        self._counted = total if distributed.process_rank() == 0 else 0
