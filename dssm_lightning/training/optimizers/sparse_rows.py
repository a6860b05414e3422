"""The rows of a table that occur in a sparse gradient, in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS_AT_ONCE = 256
"""Rows of a table that a CPU core updates at once. The intermediate results then stay in its cache, which is 2 × faster
than all rows at once, with the same result."""


def named_rows(gradient: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield chunks of the rows (U',) that occur in a gradient, in ascending order, with their gradients (U', D).

    Args:
        gradient: (V, D) sparse and coalesced.
    """
    rows, values = gradient.indices()[0], gradient.values()  # (U,), (U, D)
    size = ROWS_AT_ONCE * torch.get_num_threads() if values.device.type == "cpu" else max(1, len(values))
    yield from zip(torch.split(rows, size), torch.split(values, size), strict=True)
