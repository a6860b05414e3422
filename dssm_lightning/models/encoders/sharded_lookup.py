"""Look-ups in tables whose rows are divided among processes.

Each process looks up its own rows, and the sum over the processes is the result of the whole table. PyTorch's look-up
in a table that ``RowwiseParallel`` has sharded (github.com/pytorch/pytorch/pull/118080) gives each process the gradient
of the whole table (torch 2.14), and does not support bags. Here a process computes the gradient of its own rows only,
by local look-ups as in torchtitan (github.com/pytorch/torchtitan/pull/3468).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate


def own_share(table: DTensor, ids: Tensor, offsets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return this process's rows (V_r, D), and the ids, offsets and weights of ``bag_sums`` reduced to these rows."""
    mesh = table.device_mesh
    rows = table.to_local(grad_placements=table.placements)
    first = -(-len(table) // mesh.size()) * mesh.get_local_rank()  # all shards except the last ones are equally large
    own = (ids >= first) & (ids < first + len(rows))  # (T,)
    if weights.requires_grad:  # each process computes one summand of their gradient
        weights = DTensor.from_local(weights, mesh, [Replicate()]).to_local(grad_placements=[Partial()])
    return rows, ids[own] - first, F.pad(own.cumsum(0), (1, 0))[offsets], weights[own]


def added_up(part: Tensor, table: DTensor) -> Tensor:
    """Sum the parts of all processes that share a table."""
    return partial_sums(part, table).redistribute(placements=[Replicate()]).to_local()


def partial_sums(part: Tensor, table: DTensor) -> DTensor:
    """Return the parts of all processes as summands of one tensor."""
    return DTensor.from_local(part, table.device_mesh, [Partial()])
