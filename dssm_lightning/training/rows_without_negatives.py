"""The number of rows of an epoch without a negative to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.utils import distributed


class RowsWithoutNegatives:
    """Count, over the batches of an epoch and over all processes, the rows without a valid negative.

    A loss that compares scores gives such rows no weight. A batch is counted after its optimizer step, so that an
    interrupted batch is not counted.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.rows_without_negatives import RowsWithoutNegatives
        >>> rows = RowsWithoutNegatives()
        >>> rows.hold(torch.tensor([True, False, True]))
        >>> rows.commit()
        >>> rows.total(torch.device("cpu"))
        2
    """

    def __init__(self) -> None:
        self._counted: Tensor | int = 0  # in this process
        self._held: Tensor | int = 0  # of batches before their optimizer step

    def hold(self, rows: Tensor) -> None:
        """Keep the number of true entries of ``rows`` (B,) bool until :meth:`commit`."""
        self._held = self._held + rows.sum()  # stays on the device, without a synchronization

    def commit(self) -> None:
        """Add the kept numbers to the count."""
        self._counted, self._held = self._counted + self._held, 0

    def total(self, device: torch.device) -> int:
        """Return the count of all processes. A collective: every process must call it, each with its own device."""
        return int(distributed.sum_over_ranks(torch.as_tensor(self._counted, device=device)))

    def restart(self, total: int = 0) -> None:
        """Set the count of all processes together to ``total``."""
        self._counted = total if distributed.process_rank() == 0 else 0
