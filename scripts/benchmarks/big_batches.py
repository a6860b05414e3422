"""Big batches as ``bench.py`` measures them: their time, and their memory above the model."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.report import Row, Section, alternate, clock
from benchmarks.training import Training
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import Categorical
from dssm_lightning.training.module import TwoTower

SIZES = {"encode_chunk_size": 4096, "score_chunk_size": 256}
WIDTH = 128


def big_batches(batch_size: int = 8192, biggest: int = 32_768, repeats: int = 3) -> Section:
    """In-batch softmax over as many distinct candidates as rows, 128 wide, in chunks against the whole matrix at once.

    A step is a whole one, of two towers over id tables; ours encodes 4,096 rows at once and scores 256. Memory is what
    the process holds in a step at most (anonymous pages) above what it held before.
    """
    with TemporaryDirectory() as folder:
        data = distinct_data(2 * batch_size, folder)
        sides = [Training(made_model(data, sizes), data, batch_size, 1) for sizes in (SIZES, {})]
        seconds = alternate(sides, repeats)
    ours, theirs = sides
    assert abs(ours.losses[-1] - theirs.losses[-1]) < 1e-3, "the sides compute the same loss"
    memory = [[peak_of(batch_size, chunked)[0]] for chunked in (True, False)]
    most, took = peak_of(biggest, True)
    note = (
        f"{biggest:,} rows, of which the logits alone would be {4 * biggest**2 / 2**20:,.0f} MiB: a step in chunks "
        f"holds {most:,.0f} MiB at most and takes {took:.0f} s."
    )
    what = f"{batch_size:,} rows × {batch_size:,} candidates"
    rows = [
        Row(what, "s", *seconds, limit="products at GEMM speed"),
        Row(what, "MiB", *memory, limit="a chunk's scores, and all embeddings with their gradients"),
    ]
    return Section("Big batches", rows, [note])


def distinct_data(num_events: int, cache_dir: str | Path) -> RetrievalDataModule:
    """Events of which each has a query and a candidate of its own."""
    ids = np.arange(num_events)
    return RetrievalDataModule(
        Frames(pl.DataFrame({"query_id": ids, "candidate_id": ids})),
        query=[Categorical(name="query_id")],
        candidate=[Categorical(name="candidate_id")],
        split=RandomRows(test=0.1, validation=0.0),
        cache_dir=str(cache_dir),
    )


def made_model(data: RetrievalDataModule, sizes: dict[str, int]) -> TwoTower:
    """Two towers over ids; weights are the same in each call."""
    torch.manual_seed(0)
    tower: dict[str, Any] = {
        "class_path": "dssm_lightning.Tower",
        "init_args": {"fusion": "dssm_lightning.models.fusion.Concat", "hidden_dims": [WIDTH], "output_dim": WIDTH},
    }
    model = TwoTower(
        query_tower=tower,
        candidate_tower=tower,
        scorer={"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 20, "learnable": True}},
        loss={"class_path": "dssm_lightning.losses.SampledSoftmax"},
        optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        **sizes,
    )
    model.build(data.schemas)
    return model


def peak_of(batch_size: int, chunked: bool) -> tuple[float, float]:
    """MiB that a training step holds at most, in a process of its own, and the seconds that it takes there."""
    command = [sys.executable, "-m", __name__, str(batch_size), str(int(chunked))]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    most, took = done.stdout.splitlines()[-1].split()
    return float(most), float(took)


def held() -> float:
    """MiB of anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return float(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def most_held(step: Callable[[], object]) -> float:
    """MiB that it holds at most, above what was held before; looked at a hundred times a second."""
    before, most, ended = held(), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            most[0] = max(most[0], held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    ended.set()
    watcher.join()
    return most[0] - before


def main() -> None:
    """Print what :func:`peak_of` reads."""
    batch_size, chunked = int(sys.argv[1]), bool(int(sys.argv[2]))
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        data = distinct_data(2 * batch_size, folder)
        training = Training(made_model(data, SIZES if chunked else {}), data, batch_size, 1)
        start = clock()
        print(most_held(training), clock() - start)


if __name__ == "__main__":
    main()
