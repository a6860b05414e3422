"""Tables whose rows ranks share: each looks up what it holds, and the sum over ranks is what the whole table gives.

PyTorch's own lookup in a table that ``RowwiseParallel`` has sharded (github.com/pytorch/pytorch/pull/118080) gives each
rank the gradient of the whole table (torch 2.14), and knows no bags. Here a rank's gradient is that of its own rows, by
local lookups as torchtitan makes them (github.com/pytorch/torchtitan/pull/3468).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate


def own_share(table: DTensor, ids: Tensor, offsets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rows that this rank holds (V_r, D), and of the bags (as in ``bag_sums``) the values that name one of them."""
    mesh = table.device_mesh
    rows = table.to_local(grad_placements=table.placements)
    first = -(-len(table) // mesh.size()) * mesh.get_local_rank()  # all shares but the last ones are equally large
    own = (ids >= first) & (ids < first + len(rows))  # (T,)
    if weights.requires_grad:  # what each rank finds of their gradient is a part of it
        weights = DTensor.from_local(weights, mesh, [Replicate()]).to_local(grad_placements=[Partial()])
    return rows, ids[own] - first, F.pad(own.cumsum(0), (1, 0))[offsets], weights[own]


def added_up(part: Tensor, table: DTensor) -> Tensor:
    """The sum over the ranks that share a table."""
    return partial_sums(part, table).redistribute(placements=[Replicate()]).to_local()


def partial_sums(part: Tensor, table: DTensor) -> DTensor:
    """What each rank has found, as summands of one tensor."""
    return DTensor.from_local(part, table.device_mesh, [Partial()])
