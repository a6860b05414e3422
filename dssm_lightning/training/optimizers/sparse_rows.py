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

    A gradient whose rows ascend already is not copied, even if it does not call itself coalesced: autograd forgets that
    of every gradient that it accumulates.

    Args:
        gradient: (V, D) sparse; a row that occurs several times has the sum.

    Example:
        >>> rows, values = torch.tensor([[4, 1, 4]]), torch.tensor([[1.0], [5.0], [2.0]])
        >>> gradient = torch.sparse_coo_tensor(rows, values, (9, 1), check_invariants=True)
        >>> [(rows.tolist(), values.tolist()) for rows, values in named_rows(gradient)]
        [([1, 4], [[5.0], [3.0]])]
    """
    on_cpu, rows = gradient.device.type == "cpu", gradient._indices()[0]
    if not on_cpu or not bool((rows[1:] > rows[:-1]).all()):
        gradient = gradient.coalesce()
    rows, values = gradient._indices()[0], gradient._values()  # (U,), (U, D)
    size = ROWS_AT_ONCE * torch.get_num_threads() if on_cpu else max(1, len(values))
    yield from zip(torch.split(rows, size), torch.split(values, size), strict=True)


def write_rows(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """Set the distinct rows (U,) of a table (V, D) to the values (U, D), as ``index_copy_`` does."""
    if table.device.type == "cpu" and table.dtype == torch.float32 and table.is_contiguous():
        table.detach().numpy()[rows.numpy()] = values.numpy()  # takes a third of the time
    else:
        table.index_copy_(0, rows, values)
