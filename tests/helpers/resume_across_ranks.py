"""Run by test_resume.py: two gloo processes whose runs are killed and terminated, and go on.

Usage: resume_across_ranks.py FOLDER; leaves the runs there.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers.resuming import Stop, StopAt, checkpoints, fit_long
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

WORLD = 2
ASKED = {"strategy": "ddp", "devices": WORLD, "batch_size": 32, "max_epochs": 2}


class TerminateOne(Callback):
    """SIGTERM to the second process alone, in the midst of a batch."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 2 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def work(rank: int, folder: str) -> None:
    """One rank of all runs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.chdir(folder)
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "TORCHELASTIC_RUN_ID": "a test"}
    os.environ |= {"PL_GLOBAL_SEED": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    os.environ |= {key: str(value) for key, value in launched.items()}
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD, timeout=timedelta(seconds=30)
    )
    fit_long("two", **ASKED)
    with suppress(Stop):
        fit_long("two-killed", StopAt("on_train_batch_start", 10), every=1, **ASKED)
    dist.barrier()
    if rank == 0:
        last = checkpoints("two-killed") / "last.ckpt"
        (checkpoints("two-by-one")).mkdir(parents=True)
        (checkpoints("two-by-one") / "last.ckpt").write_bytes(last.read_bytes())
    fit_long("two-killed", ckpt_path=checkpoints("two-killed") / "last.ckpt", **ASKED)
    try:
        fit_long("two-terminated", TerminateOne(), **ASKED)
    except SystemExit as stopped:
        Path(f"terminated.{rank}").write_text(str(stopped.code), encoding="utf-8")
    dist.barrier()
    fit_long("two-terminated", ckpt_path=checkpoints("two-terminated") / "last.ckpt", **ASKED)
    dist.barrier()  # nobody leaves while another still talks
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    mp.spawn(work, args=(sys.argv[1],), nprocs=WORLD)
