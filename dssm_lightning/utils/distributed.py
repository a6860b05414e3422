"""All that knows of several processes: who we are, sums, and gathering with a gradient.

The claim, tested on gloo: W ranks of batch B give the loss and the gradients of one process of batch W·B that holds
the same rows and the same drawn negatives.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_group: dist.ProcessGroup | None = None


def use_group(group: dist.ProcessGroup | None) -> None:
    """Let this module speak of the ranks of a group, each of which has rows of its own; None = all ranks.

    Ranks that share tables compute the same from the same rows: to all of this module they are one.
    """
    global _group
    _group = group


def process_rank() -> int:
    """This process's number, 0 where there is only one."""
    return dist.get_rank(_group) if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes work together."""
    return dist.get_world_size(_group) if dist.is_initialized() else 1


def adds_sparse() -> bool:
    """Whether ranks can add up sparse gradients, as DDP does: gloo can, NCCL cannot."""
    return world_size() == 1 or dist.get_backend(_group) != "nccl"


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every rank's value, without a gradient."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total, group=_group)
    return total


def gather_objects(mine: Any) -> list[Any]:
    """What each rank has, in the order of ranks: plain values, and few of them."""
    every: list[Any] = [mine] * world_size()
    if world_size() > 1:
        dist.all_gather_object(every, mine, group=_group)
    return every


def anywhere(flags: list[bool], device: torch.device) -> list[bool]:
    """Whether each flag is set in any process of the whole job."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flags
    total = torch.tensor(flags, device=device).float()
    dist.all_reduce(total)
    return [bool(value) for value in total.tolist()]


class _Gather(torch.autograd.Function):
    """(n, …) on each rank -> (W·n, …) on all; the backward pass sums what every rank sends back to the owner.

    With each rank's loss a mean over its own rows, DDP's averaging then gives the gradient of the mean over all rows:
    nothing is to be multiplied by W.
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
    """How many rows the ranks before this one have, where this one has those of ``local``."""
    return 0 if world_size() == 1 else int(_row_counts(local)[: process_rank()].sum())


def _row_counts(local: Tensor) -> Tensor:
    """(W,) rows of each rank."""
    counts = torch.zeros(world_size(), dtype=torch.int64, device=local.device)
    counts[process_rank()] = len(local)
    dist.all_reduce(counts, group=_group)
    return counts


def gather_rows(local: Tensor) -> Tensor:
    """(n_r, …) on each rank, n_r may differ -> (Σ n_r, …) on all, in rank order, with gradient."""
    if world_size() == 1:
        return local
    sizes = _row_counts(local)
    longest = int(sizes.max())
    padded = torch.cat([local, local.new_zeros((longest - len(local), *local.shape[1:]))])
    gathered = _Gather.apply(padded)
    assert isinstance(gathered, Tensor)
    place = torch.arange(len(gathered), device=local.device)
    return gathered[place % longest < sizes[place // longest]]
