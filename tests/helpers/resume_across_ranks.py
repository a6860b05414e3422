"""Run by test_resume.py: two gloo processes whose runs are killed, terminated and resumed.

Usage: resume_across_ranks.py FOLDER; the runs stay in the folder.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist
from helpers.ranks import fork
from helpers.resuming import SignalAt, Stop, StopAt, checkpoints, fit_long

SETTINGS = {"strategy": "ddp", "devices": 2, "batch_size": 32, "max_epochs": 2}


def work(process_rank: int, world_size: int, folder: str) -> None:
    """Train all runs, in one process."""
    warnings.simplefilter("ignore")
    os.chdir(folder)
    launched = {"RANK": process_rank, "LOCAL_RANK": process_rank, "WORLD_SIZE": world_size}
    os.environ |= {"PL_GLOBAL_SEED": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "0", "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {key: str(value) for key, value in launched.items()}
    fit_long("two", **SETTINGS)
    with suppress(Stop):
        fit_long("two-killed", StopAt("on_train_batch_start", 10), every=1, **SETTINGS)
    dist.barrier()
    killed = checkpoints("two-killed") / "last.ckpt"
    if process_rank == 0:
        checkpoints("two-by-one").mkdir(parents=True)
        (checkpoints("two-by-one") / "last.ckpt").write_bytes(killed.read_bytes())
    fit_long("two-killed", ckpt_path=killed, **SETTINGS)
    try:
        fit_long("two-terminated", SignalAt(signal.SIGTERM, step=2, process_rank=1), **SETTINGS)
    except SystemExit as stopped:
        Path(f"terminated.{process_rank}").write_text(str(stopped.code), encoding="utf-8")
    dist.barrier()
    fit_long("two-terminated", ckpt_path=checkpoints("two-terminated") / "last.ckpt", **SETTINGS)


if __name__ == "__main__":
    fork(work, 2, sys.argv[1])
