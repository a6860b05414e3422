"""Runs that are interrupted at any place, and what must be equal after they are resumed."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from typing import Any

import torch
from helpers.paths import EVERY_KIND
from helpers.small import small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.training.callbacks.averaged_weights import AveragedWeights
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.stop_at_non_finite import StopAtNonFinite
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches

CONFIG = EVERY_KIND  # dropout of every kind, shared tables, a learned scale
LEARNT = EVERY_KIND.parent / "learnt_on_the_way.yaml"  # mined negatives, a memory, a streaming frequency
LONG = (LEARNT, EVERY_KIND.parent / "long_run.yaml")  # and popular ones, changed pictures, warm-up


class Stop(BaseException):
    """An interruption that nothing handles on its way to the test."""


class StopAt(Callback):
    """Interrupt training when a hook is called for the given time."""

    def __init__(self, hook: str, number: int) -> None:
        self.number, self.seen = number, 0
        setattr(self, hook, self._count)

    def _count(self, *_: Any) -> None:
        self.seen += 1
        if self.seen == self.number:
            raise Stop


class SignalAt(Callback):
    """Sends a signal to its own process within a step."""

    def __init__(self, number: int, step: int, process_rank: int = 0) -> None:
        self.number, self.step, self.process_rank = number, step, process_rank

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.process_rank:
            os.kill(os.getpid(), self.number)


def content(path: Path) -> dict[str, Any]:
    found = torch.load(path, weights_only=True)
    assert isinstance(found, dict)
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def assert_same_training(a: Path, b: Path) -> None:
    one, two = content(a), content(b)
    assert one["global_step"] == two["global_step"] > 0
    for key in (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "epoch",
        "RetrievalDataModule",
        "rows_without_negatives",
        "negative_counts",
    ):
        assert same(one[key], two[key]), key
    for key in ("current_model_state", "averaging_state"):  # of averaged weights
        assert same(one.get(key), two.get(key)), key


def checkpoints(run: str) -> Path:
    return Path("runs") / run / "checkpoints"


@functools.cache
def untrained(*configs: Path) -> tuple[TwoTower, RetrievalDataModule]:
    """Read configs, once: to be copied, since parsing takes a third of the time of a short run."""
    paths = [str(path) for path in configs]
    return load_untrained(paths), load_datamodule(paths)


def fit(
    run: str,
    callback: Callback | None = None,
    ckpt_path: Path | None = None,
    every: int | None = None,
    over: Path | tuple[Path, ...] = (),
    also: tuple[Callback, ...] = (),
    batch_size: int | None = None,
    **more: Any,
) -> None:
    """Train as ``fit`` does, without a command line; the callback is called before the callbacks that save."""
    model, data = copy.deepcopy(untrained(CONFIG, *((over,) if isinstance(over, Path) else over)))
    data.batch_size = batch_size or data.batch_size
    callbacks = [*also, *([] if callback is None else [callback]), BestCheckpoint("val/ndcg@10"), LastCheckpoint(every)]
    settings = {"max_epochs": 4, "enable_checkpointing": True, "callbacks": callbacks, **more}
    torch.manual_seed(3)
    small_trainer(Path("runs") / run, **settings).fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)


def fit_long(run: str, callback: Callback | None = None, **more: Any) -> None:
    also = (AveragedWeights(decay=0.9), StopBetweenBatches(), StopAtNonFinite())
    fit(run, callback, **{"over": LONG, "also": also, "accumulate_grad_batches": 2, "max_epochs": 3, **more})
