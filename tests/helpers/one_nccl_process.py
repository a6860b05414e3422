"""Run by test_gpu_processes.py in an empty folder: fits on one GPU, as one process of DDP over NCCL and without.

Each result is a file ``<case>.<strategy>.pt``.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from helpers.device_cases import StepLosses, made
from helpers.small import small_trainer

HERE = Path()
CASES = ["SampledSoftmax(repeats='count', symmetric=True)", "attention, by query", "memory", "chunks", "taught"]


def fit(name: str, strategy: str) -> None:
    """Train one epoch, test, and keep losses, metrics and weights."""
    model, data = made(name, HERE)
    torch.manual_seed(3)
    kept = StepLosses()
    trainer = small_trainer(
        HERE, accelerator="gpu", devices=1, strategy=strategy, use_distributed_sampler=False, callbacks=[kept]
    )
    trainer.fit(model, data)
    if strategy == "ddp":
        assert dist.get_backend() == "nccl"
    weights = {key: value.cpu() for key, value in model.state_dict().items()}
    [metrics] = trainer.test(model, data, verbose=False)
    number = CASES.index(name)
    torch.save({"losses": kept.found, "metrics": dict(metrics), "weights": weights}, HERE / f"{number}.{strategy}.pt")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # NCCL and Lightning warn about the machine
    os.environ |= {"PL_GLOBAL_SEED": "3", "MASTER_ADDR": "127.0.0.1"}
    for strategy in ("auto", "ddp"):
        for name in CASES:
            fit(name, strategy)
    if dist.is_initialized():
        dist.destroy_process_group()
    sys.exit(0)
