"""A large table beside a small one: what it costs that a table is large."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from benchmarks.report import Row, Section, clock, rates
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import Categorical
from dssm_lightning.training.module import TwoTower

ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "LazyAdam": {"class_path": "LazyAdam", "init_args": {"lr": 0.001}},
    "SparseAdam and AdamW": {
        "class_path": "SparseAndDense",
        "init_args": {"sparse": {"class_path": "torch.optim.SparseAdam"}, "dense": ADAMW},
    },
    "RowWiseAdagrad and AdamW": {
        "class_path": "SparseAndDense",
        "init_args": {"sparse": {"class_path": "RowWiseAdagrad"}, "dense": ADAMW},
    },
}


def large_table(
    num_rows: int = 2_000_000,
    fewer_rows: int = 20_000,
    width: int = 128,
    batch_size: int = 1024,
    steps: int = 100,
    repeats: int = 5,
) -> Section:
    """A table of 2,000,000 × 128 with sparse gradients, against one of 20,000 × 128 in the same model.

    Ours is the large one. The steps are those of Lightning's `fit`, on batches of the same events, with a logger and
    gradients clipped by their norm; the sides take turns of a whole fit. Building the tables does not count, nor the
    first half of a fit, in which the system finds memory for the optimizer's state, nor checkpoints, which hold all of
    it.
    """
    with TemporaryDirectory() as folder:
        data = [hashed_data(batch_size * steps, number, batch_size, folder) for number in (num_rows, fewer_rows)]
        rows = []
        for name, optimizer in OPTIMIZERS.items():
            models = [table_model(width, optimizer) for _ in data]
            seconds: list[list[float]] = [[], []]
            for _ in range(repeats + 1):
                for model, side, taken in zip(models, data, seconds, strict=True):
                    taken.append(step_seconds(model, side, steps, folder))
            large, small = (rates(batch_size, taken[1:]) for taken in seconds)
            rows.append(Row(f"{name}, batches of {batch_size:,}", "rows/s", large, small, "the small table: 1"))
        used = [len(side.data.query["query_id"].unique()) for side in data]
    return Section(
        "A large table", rows, [f"The events use {used[0]:,} rows of the large table, {used[1]:,} of the small."]
    )


def hashed_data(num_events: int, num_buckets: int, batch_size: int, cache_dir: str) -> RetrievalDataModule:
    """Events of as many queries, hashed into buckets, and 2,000 candidates."""
    candidates = np.random.default_rng(0).integers(2000, size=num_events)
    return RetrievalDataModule(
        Frames(pl.DataFrame({"query_id": np.arange(num_events), "candidate_id": candidates})),
        query=[Categorical(name="query_id", num_buckets=num_buckets)],
        candidate=[Categorical(name="candidate_id")],
        split=RandomRows(test=1 / num_events, validation=0.0),
        batch_size=batch_size,
        cache_dir=cache_dir,
    )


def table_model(width: int, optimizer: dict[str, Any]) -> TwoTower:
    """Towers of one sparse table each and a layer behind it."""
    embedding = {"class_path": "Embedding", "init_args": {"output_dim": width, "sparse": True}}
    query, candidate = (
        {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 64, "encoders": {name: embedding}}}
        for name in ("query_id", "candidate_id")
    )
    scorer = {"class_path": "Dot", "init_args": {"logit_scale": 20}}
    return TwoTower(query, candidate, scorer, "SampledSoftmax", optimizer)


class StepSeconds(Callback):
    """Notes when each step began."""

    def __init__(self) -> None:
        self.began: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Now."""
        self.began.append(clock())


def step_seconds(model: TwoTower, data: RetrievalDataModule, steps: int, folder: str) -> float:
    """The median over the second half of a fit's steps."""
    timed = StepSeconds()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=steps,
        gradient_clip_val=1.0,
        logger=CSVLogger(Path(folder)),
        callbacks=[timed],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and logging intervals
        trainer.fit(model, data)
    trainer.optimizers = []
    gc.collect()  # their state, two more tables, would stand beside that of the next fit
    return median(np.diff(timed.began)[len(timed.began) // 2 :])
