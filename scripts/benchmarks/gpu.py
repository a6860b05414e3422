"""What ``bench.py --accelerator gpu`` measures where there is a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from tempfile import TemporaryDirectory

import torch
from lightning.fabric.utilities import move_data_to_device

from benchmarks.big_batches import distinct_data, made_model
from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.data.batch import Batch
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.seeding import Counter


def gpu(
    device: str = "cuda",
    batch_size: int = 8192,
    chunk_size: int = 1024,
    repeats: int = 9,
) -> Section:
    """In-batch softmax of big batches in chunks against the whole matrix.

    A training step is one of two towers over id tables, 128 wide, without the assembly of its batch.
    """
    with TemporaryDirectory() as folder:
        data = distinct_data(2 * batch_size, folder)
        batch = data.assembler.batch(data.assembler.rows[:batch_size], Counter(0))
        batch = move_data_to_device(batch, torch.device(device))
        models = [made_model(data, sizes).to(device) for sizes in ({"score_chunk_size": chunk_size}, {})]
    what = f"steps, {batch_size:,} rows × {batch_size:,} candidates"
    trained = _alternate([_step(model, batch) for model in models], device, repeats)
    rows = [
        Row(
            f"{what}, {chunk_size:,} queries at once",
            "rows/s",
            *(rates(batch_size, each) for each in trained),
            limit="products at GEMM speed",
        )
    ]
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    return Section("On a GPU", rows, [f"On one {name}, by the wall clock."])


def _step(model: TwoTower, batch: Batch) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        (model.per_query_loss(batch).total / len(batch.row)).backward()
        optimizer.step()

    return step


def _alternate(sides: list[Callable[[], object]], device: str, repeats: int) -> list[list[float]]:
    def waited(side: Callable[[], object]) -> None:
        side()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return alternate([partial(waited, side) for side in sides], repeats, clock=time.perf_counter)
