"""The negatives that a training row was compared with, and those that were masked or left out, over an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dssm_lightning.utils import distributed

KEY = "negative_counts"
"""Where a checkpoint has the counts so far."""


class NegativeCounts:
    """Count negatives and masked columns over the batches of an epoch and over all processes.

    A batch is counted after its optimizer step, as by
    :class:`~dssm_lightning.training.rows_without_negatives.RowsWithoutNegatives`. The counts are whole numbers that
    stay on the device, so that counting needs no synchronization.

    Example:
        >>> counts = NegativeCounts()
        >>> counts.hold(torch.tensor([3, 5]), offered=10)  # two rows, of whose 2 × 5 columns 2 were masked
        >>> counts.commit()
        >>> counts.means(torch.device("cpu"))
        {'train/negatives': 4.0, 'train/masked_positives': 1.0}
    """

    guided = False
    """Whether a guide leaves out negatives, which are then counted by themselves."""

    def __init__(self) -> None:
        self._counted: Tensor | None = None  # (4,) int64 rows, negatives, columns offered, removed; in this process
        self._held: list[Tensor] = []  # of batches before their optimizer step

    def hold(self, negatives: Tensor, offered: Tensor | int, removed: Tensor | None = None) -> None:
        """Keep the numbers of a batch, or of a part of it, until :meth:`commit`.

        Args:
            negatives: (Q,) number of valid negatives of each row.
            offered: number of columns beside the target, of all rows together.
            removed: (Q,) number of valid negatives of each row that a guide has left out; None = none.
        """
        columns = torch.as_tensor(offered, device=negatives.device)
        rows = torch.as_tensor(len(negatives), device=negatives.device)
        left_out = torch.zeros_like(rows) if removed is None else removed.sum(dtype=torch.int64)
        self._held.append(torch.stack([rows, negatives.sum(dtype=torch.int64), columns, left_out]))

    @property
    def removed(self) -> Tensor:
        """() negatives of a row, on average, that a guide has left out since the last commit."""
        held = torch.stack(self._held).sum(0)
        return held[3] / held[0]

    def commit(self) -> None:
        """Add the kept numbers to the counts."""
        for held in self._held:
            before = torch.zeros_like(held) if self._counted is None else self._counted
            self._counted = before.to(held.device) + held  # a checkpoint's counts are on the CPU
        self._held.clear()

    def totals(self, device: torch.device) -> list[int]:
        """Return rows, negatives, offered columns and removed negatives of all processes.

        A collective: every process must call it.
        """
        own = torch.zeros(4, dtype=torch.int64) if self._counted is None else self._counted
        return [int(value) for value in distributed.sum_over_ranks(own.to(device)).tolist()]

    def means(self, device: torch.device) -> dict[str, float]:
        """Return the means over rows by their logged names; nothing before the first row. A collective."""
        rows, negatives, offered, removed = self.totals(device)
        if not rows:
            return {}
        masked = offered - negatives - removed
        found = {"train/negatives": negatives / rows, "train/masked_positives": masked / rows}
        return {**found, "train/removed_negatives": removed / rows} if self.guided else found

    def restart(self, checkpoint: Mapping[str, Any] | None = None) -> None:
        """Set the counts of all processes together to those of a checkpoint; to 0 without them."""
        found = (checkpoint or {}).get(KEY)
        first = distributed.process_rank() == 0
        # checkpoints of 0.1.0 count no removed negatives
        self._counted = torch.tensor([*found, 0][:4]) if found is not None and first else None
