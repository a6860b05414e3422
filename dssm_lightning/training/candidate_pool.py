"""The encoded candidates that a batch is scored against, gathered from all processes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils.distributed import gather_rows, world_size


class Pool(NamedTuple):
    """The distinct candidates that a batch is scored against, with their embeddings.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.candidate_pool import Pool
        >>> pool = Pool(torch.randn(3, 8), torch.tensor([2, 5, 7]), torch.ones(3), torch.zeros(3))
        >>> pool.embedding.shape
        torch.Size([3, 8])
    """

    embedding: Tensor  # (C, D)
    id: Tensor  # (C,) int64, strictly ascending
    count: Tensor  # type: ignore[assignment]  # shadows tuple.count; (C,) float32
    log_q: Tensor  # (C,) float32


def gather_pool(pool: Pool) -> Pool:
    """Gather the candidates of all processes, each id once.

    The counts of an id add up. Its embedding is the one of the first process that has the id.
    """
    if world_size() == 1:
        return pool
    every = Pool(*(gather_rows(column) for column in pool))
    ids, inverse = torch.unique(every.id, return_inverse=True)
    place = torch.arange(len(inverse), device=ids.device)
    first = torch.full_like(ids, len(inverse)).scatter_reduce_(0, inverse, place, "amin")
    count = torch.zeros(len(ids), device=ids.device).index_add_(0, inverse, every.count)
    # W processes propose each candidate W times as often
    return Pool(every.embedding[first], ids, count, every.log_q[first] + math.log(world_size()))
