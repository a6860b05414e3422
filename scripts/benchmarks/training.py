"""Training steps as ``bench.py`` times them, and what a step cannot do without."""

from __future__ import annotations

from functools import partial
from itertools import chain, repeat
from statistics import median

import torch
from torch import Tensor

from benchmarks.page import shown
from benchmarks.report import alternate
from dssm_lightning.data.batching.shuffling import RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.models.encoders import EmbeddingBag
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter


class Training:
    """Whole training steps of a model; a call is a turn of several."""

    def __init__(self, model: TwoTower, data: RetrievalDataModule, batch_size: int, steps: int) -> None:
        self.model, self.optimizer, self.steps = model, model.configure_optimizers(), steps
        loader = TrainLoader(
            data.assembler, RowOrder(data.assembler.rows, batch_size, Counter(0), 1), Counter(0), Progress()
        )
        self.batches = chain.from_iterable(repeat(loader))
        self.losses: list[float] = []

    def __call__(self) -> None:
        for _ in range(self.steps):
            self.batch = next(self.batches)
            loss = self.model.per_query_loss(self.batch).total / len(self.batch.row)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            self.optimizer.step()
            self.losses.append(loss.item())


def step_limit(training: Training, step_seconds: float) -> str:
    """What the last step cannot do without: rows of tables moved as fast as memory is copied, and three products.

    Ours makes nine passes over the rows that a batch names: read them, write and read their gradient, read and write
    weights and both moments. A dense optimizer makes the last eight over the whole table.
    """
    batch, model = training.batch, training.model
    ids: dict[Tensor, list[Tensor]] = {}
    for tower, features in ((model.query_tower, batch.query), (model.candidate_tower, batch.candidates.features)):
        for name, encoder in tower.encoders.items():
            column = features[name]
            if isinstance(encoder, EmbeddingBag) and isinstance(column, Ragged):
                ids.setdefault(encoder.table.weight, []).append(column.values)
    named = sum(len(set(torch.cat(values).tolist())) * table.shape[1] for table, values in ids.items())
    moved, dense = (passes * 4 * floats for passes, floats in ((9, named), (8, sum(table.numel() for table in ids))))
    block, other = torch.ones(1 << 24), torch.empty(1 << 24)
    shape = len(batch.row), len(batch.candidates.id), model.query_tower.output_dim
    [copying] = map(median, alternate([partial(other.copy_, block)], 7))
    bandwidth, products = 8 * len(block) / copying, products_seconds(*shape)
    rows_ms, scores_ms = 1e3 * moved / bandwidth, 1e3 * products
    ours_ms, dense_ms = 1e3 * step_seconds, 1e3 * dense / bandwidth
    return (
        f"The limit of our step: {moved / 1e6:,.0f} MB of named table rows at {bandwidth / 1e9:.1f} GB/s (as memory is "
        f"copied) take {shown(rows_ms)} ms, the score matrix and its two gradients {shown(scores_ms)} ms (as matrices "
        f"are multiplied). It takes {shown(ours_ms)} ms, {ours_ms / (rows_ms + scores_ms):.1f} × the limit. A dense "
        f"optimizer must move {dense / 1e6:,.0f} MB of tables ({shown(dense_ms)} ms), whatever the batch."
    )


def products_seconds(rows: int, columns: int, width: int) -> float:
    """What a score matrix and its two gradients take, as matrices are multiplied."""
    [product] = alternate([partial(torch.mm, torch.ones(rows, width), torch.ones(columns, width).T)], 7)
    return 3 * median(product)
