"""Run by test_sharded.py on each rank: fits whose tables ranks share, and one with sparse tables under DDP."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from helpers.paths import TESTS
from helpers.small import small_trainer
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from dssm_lightning import TwoTower
from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.training.distributed.sharded_tables import ShardedTables

CONFIGS = TESTS / "configs"
KINDS = [str(CONFIGS / "every_kind.yaml"), str(CONFIGS / "sharded_tables.yaml")]
SPARSE = [str(CONFIGS / "sparse_tables.yaml")]
DENSE = [*SPARSE, str(CONFIGS / "dense_tables.yaml")]
RANKS = int(os.environ.get("WORLD_SIZE", 1))  # which Lightning deletes after the first fit
SOON = timedelta(seconds=60)


def fit(
    configs: list[str],
    epochs: int,
    strategy: Strategy | str = "auto",
    ckpt_path: str | None = None,
    batch_size: int | None = None,
    callbacks: list[Callback] | None = None,
) -> TwoTower:
    """A model after so many epochs, the first of them those of a checkpoint."""
    seed_everything(3, verbose=False)
    model, data = load_untrained(configs), load_datamodule(configs)
    data.batch_size = batch_size or data.batch_size
    settings = {
        "gradient_clip_val": 0.5,
        "use_distributed_sampler": False,
        "devices": RANKS,
    }
    trainer = small_trainer(Path(), max_epochs=epochs, strategy=strategy, callbacks=callbacks, **settings)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return model


def shares(**changes: Any) -> ShardedTables:
    return ShardedTables(**{"min_rows": 40, "timeout": SOON, **changes})


class Held(Callback):
    """How many of a shared table's rows a rank has of the weights, of the gradient and of the optimizer's state."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        for name, weight in pl_module.named_parameters():
            if isinstance(weight, DTensor):
                kept = [value for value in optimizer.state[weight].values() if value.dim()]
                self.rows[name] = [len(part.to_local()) for part in (weight, weight.grad, *kept)]


def main() -> None:
    """All of it; rank 0 writes what a test compares."""
    model = fit(KINDS, 1, shares(), callbacks=[held := Held()])
    model.trainer.save_checkpoint("shared-1.ckpt")
    torch.save({"held": held.rows, "metrics": dict(model.trainer.callback_metrics)}, f"found-{dist.get_rank()}.pt")
    fit(KINDS, 2, shares(save_distributed_checkpoint=True), "whole-1.ckpt").trainer.save_checkpoint("folder-2.ckpt")
    fit(KINDS, 3, shares(), "folder-2.ckpt").trainer.save_checkpoint("shared-3.ckpt")
    two_groups = shares(data_parallel_size=2, tensor_parallel_size=RANKS // 2)
    fit(DENSE, 2, two_groups).trainer.save_checkpoint("groups.ckpt")
    fit(SPARSE, 2, DDPStrategy(timeout=SOON)).trainer.save_checkpoint("sparse.ckpt")
    dist.barrier()  # nobody leaves while another still talks
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    main()
