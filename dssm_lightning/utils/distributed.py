"""Communication between processes: process numbers, sums, and gathering with a gradient.

Tested with gloo: W processes with batches of B rows have the same loss and the same gradients as one process with a
batch of W·B rows, if the rows and the sampled negatives are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_group: dist.ProcessGroup | None = None


def use_group(group: dist.ProcessGroup | None) -> None:
    """Restrict this module to the processes of a group, which all have different rows; None = all processes.

    Processes that share sharded tables compute the same results from the same rows. A group contains one of them.
    """
    global _group
    _group = group


def process_rank() -> int:
    """Return the number of this process within the group; 0 if there is only one process."""
    return dist.get_rank(_group) if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes in the group."""
    return dist.get_world_size(_group) if dist.is_initialized() else 1


def adds_sparse() -> bool:
    """Return whether DDP can sum sparse gradients over the processes: gloo can, NCCL cannot."""
    return world_size() == 1 or dist.get_backend(_group) != "nccl"


def part() -> None:
    """End the work of several processes together: each goes on alone."""
    if dist.is_initialized():
        dist.destroy_process_group()


def sum_over_ranks(value: Tensor) -> Tensor:
    """Return the sum of ``value`` over all processes, without a gradient."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total, group=_group)
    return total


def gather_objects(mine: Any) -> list[Any]:
    """Return the object of every process, in the order of process numbers. The objects are pickled; keep them small."""
    every: list[Any] = [mine] * world_size()
    if world_size() > 1:
        dist.all_gather_object(every, mine, group=_group)
    return every


def anywhere(flags: list[bool], device: torch.device) -> list[bool]:
    """Return for each flag whether it is set in any process of the whole job, not only of the group."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flags
    total = torch.tensor(flags, device=device).float()
    dist.all_reduce(total)
    return [bool(value) for value in total.tolist()]


class _Gather(torch.autograd.Function):
    """(n, …) in each process -> (W·n, …) in all; the backward pass sums the gradients of all processes.

    If each process's loss is the mean over its own rows, DDP's average over processes is the gradient of the mean over
    all rows, without a factor W.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        gathered = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(gathered, local.contiguous(), group=_group)
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        size = gradient.shape[0] // world_size()
        if dist.get_backend(_group) == "nccl":
            own = gradient.new_empty((size, *gradient.shape[1:]))
            dist.reduce_scatter(own, list(torch.split(gradient, size)), group=_group)
            return own
        gradient = gradient.clone()  # gloo has no reduce-scatter
        dist.all_reduce(gradient, group=_group)
        return gradient[process_rank() * size : (process_rank() + 1) * size]


def rows_before(local: Tensor) -> int:
    """Return the number of rows in the processes before this one; this process has the rows of ``local``."""
    return 0 if world_size() == 1 else int(_row_counts(local)[: process_rank()].sum())


def _row_counts(local: Tensor) -> Tensor:
    """(W,) number of rows in each process."""
    counts = torch.zeros(world_size(), dtype=torch.int64, device=local.device)
    counts[process_rank()] = len(local)
    dist.all_reduce(counts, group=_group)
    return counts


def gather_rows(local: Tensor) -> Tensor:
    """Gather (n_r, …) of each process r, n_r may differ, as (Σ n_r, …) in all, in the order of r, with a gradient."""
    if world_size() == 1:
        return local
    sizes = _row_counts(local)
    longest = int(sizes.max())
    padded = torch.cat([local, local.new_zeros((longest - len(local), *local.shape[1:]))])
    gathered = _Gather.apply(padded)
    assert isinstance(gathered, Tensor)
    place = torch.arange(len(gathered), device=local.device)
    return gathered[place % longest < sizes[place // longest]]
