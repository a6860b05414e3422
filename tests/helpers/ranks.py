"""Several gloo processes for tests, forked from a process that has imported everything: Python starts only once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch._dynamo  # otherwise DistributedDataParallel imports it in each process
import torch.distributed as dist
import torch.multiprocessing as mp


def fork(work: Callable[..., None], world_size: int, *args: Any) -> None:
    """Run ``work(process_rank, world_size, *args)`` in each process of a group; raise if one of them fails.

    For scripts that a test starts under a hard time limit: pytest's own process has threads, and must not fork.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _in_group, (world_size, f"file://{folder}/store", work, args), nprocs=world_size, start_method="fork"
        )


def _in_group(process_rank: int, world_size: int, store: str, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store, rank=process_rank, world_size=world_size, timeout=timedelta(seconds=30))
    work(process_rank, world_size, *args)
    dist.barrier()  # no process ends while another communicates
    dist.destroy_process_group()
