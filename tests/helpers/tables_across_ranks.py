"""Run by test_sharded_tables.py in two processes: fits with sharded tables, and one with sparse tables under DDP."""

from __future__ import annotations

import copy
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from helpers.paths import TESTS
from helpers.ranks import fork
from helpers.resuming import untrained
from helpers.small import small_trainer
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dssm_lightning import TwoTower
from dssm_lightning.training.distributed.sharded_tables import ShardedTables

CONFIGS = TESTS / "configs"
KINDS = (CONFIGS / "every_kind.yaml", CONFIGS / "sharded_tables.yaml")
SPARSE = (CONFIGS / "sparse_tables.yaml",)
DENSE = (*SPARSE, CONFIGS / "dense_tables.yaml")
SOON = timedelta(seconds=60)


def fit(
    configs: tuple[Path, ...],
    epochs: int,
    strategy: Strategy | str = "auto",
    ckpt_path: str | None = None,
    batch_size: int | None = None,
    callbacks: list[Callback] | None = None,
) -> TwoTower:
    """Train up to an epoch, from the start or from a checkpoint, and return the model."""
    model, data = copy.deepcopy(untrained(*configs))
    seed_everything(3, verbose=False)
    data.batch_size = batch_size or data.batch_size
    devices = dist.get_world_size() if dist.is_initialized() else 1
    if devices > 1:  # as a launcher sets them; Lightning deletes them after a fit
        os.environ |= {"LOCAL_RANK": str(dist.get_rank()), "NODE_RANK": "0"}
    settings = {"gradient_clip_val": 0.5, "use_distributed_sampler": False, "devices": devices}
    trainer = small_trainer(Path(), max_epochs=epochs, strategy=strategy, callbacks=callbacks, **settings)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return model


def shares(**changes: Any) -> ShardedTables:
    return ShardedTables(**{"min_rows": 40, "timeout": SOON, **changes})


class Held(Callback):
    """Keeps how many rows of a sharded table a process holds: of the weights, the gradient and the optimizer state."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        for name, weight in pl_module.named_parameters():
            if isinstance(weight, DTensor):
                kept = [value for value in optimizer.state[weight].values() if value.dim()]
                self.rows[name] = [len(part.to_local()) for part in (weight, weight.grad, *kept)]


def work(process_rank: int, world_size: int) -> None:
    """Train all models, in one process; process 0 writes the checkpoints that a test compares."""
    warnings.simplefilter("ignore")
    model = fit(KINDS, 1, shares(), callbacks=[held := Held()])
    model.trainer.save_checkpoint("shared-1.ckpt")
    torch.save({"held": held.rows, "metrics": dict(model.trainer.callback_metrics)}, f"found-{process_rank}.pt")
    fit(KINDS, 2, shares(save_distributed_checkpoint=True), "whole-1.ckpt").trainer.save_checkpoint("folder-2.ckpt")
    fit(KINDS, 3, shares(), "folder-2.ckpt").trainer.save_checkpoint("shared-3.ckpt")
    two_groups = shares(data_parallel_size=2, tensor_parallel_size=world_size // 2)
    fit(DENSE, 2, two_groups).trainer.save_checkpoint("groups.ckpt")
    fit(SPARSE, 2, DDPStrategy(timeout=SOON)).trainer.save_checkpoint("sparse.ckpt")


if __name__ == "__main__":
    fork(work, 2)
