"""Made-up data as large as one likes, and what a fit on them takes: time, and memory that is no file's.

    python scripts/large_data.py make DATA --rows 50000000   # 50 Parquet files, rows / 10 candidates, rows / 25 queries
    python scripts/large_data.py measure DATA                # prepare and train; a line for docs/results.md

``measure`` samples RssAnon of the process, which is what cannot be given back to the disk: pages of the mapped cache
are not part of it. Tables and the optimizer's state are, and are told apart. Times are of the processor.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

GROUPS = 1_000
"""A query likes candidates of its own group four times in five, those with a low number more often."""


def make(folder: Path, rows: int, files: int = 50) -> None:
    """Write ``interactions/part-*.parquet``, ``queries.parquet`` and ``candidates.parquet``."""
    num_queries, num_candidates = max(rows // 25, 2 * GROUPS), max(rows // 10, 2 * GROUPS)
    (folder / "interactions").mkdir(parents=True)
    pl.DataFrame({"user_id": np.arange(num_queries) * 7 + 11}).write_parquet(folder / "queries.parquet")
    pl.DataFrame({"item_id": np.arange(num_candidates) * 3 + 5}).write_parquet(folder / "candidates.parquet")
    for number, size in enumerate(np.diff(np.linspace(0, rows, files + 1).astype(int))):
        rng = np.random.default_rng([rows, number])
        query = rng.integers(num_queries, size=size)
        group = np.where(rng.random(size) < 0.8, query % GROUPS, rng.integers(GROUPS, size=size))
        place = (rng.random(size) ** 2 * (num_candidates // GROUPS)).astype(np.int64)
        events = {"user_id": query * 7 + 11, "item_id": (place * GROUPS + group) * 3 + 5}
        time_of = 1_600_000_000 + rng.integers(100_000_000, size=size)
        pl.DataFrame(events | {"time": time_of}).write_parquet(folder / "interactions" / f"part-{number:05}.parquet")


def settings(folder: Path, steps: int, batch_size: int) -> dict[str, Any]:
    """A fit of two hashed tables of 1,000,000 × 64 without validation."""
    ids = {"num_buckets": 1_000_000}
    tower = {
        "class_path": "Tower",
        "init_args": {
            "output_dim": 64,
            "hidden_dims": [],
            "fusion": "Concat",
            "encoders": {"id": {"class_path": "Embedding", "init_args": {"output_dim": 64, "sparse": True}}},
        },
    }
    return {
        "seed_everything": 1,
        "data": {
            "source": {
                "class_path": "Files",
                "init_args": {
                    "interactions": str(folder / "interactions"),
                    "queries": str(folder / "queries.parquet"),
                    "candidates": str(folder / "candidates.parquet"),
                    "query_id": "user_id",
                    "candidate_id": "item_id",
                    "time": "time",
                },
            },
            "split": {"class_path": "ByTime", "init_args": {"test": 0.0001, "validation": 0.0001}},
            "batch_size": batch_size,
            "query": [{"class_path": "Categorical", "init_args": {"name": "id", "column": "user_id", **ids}}],
            "candidate": [{"class_path": "Categorical", "init_args": {"name": "id", "column": "item_id", **ids}}],
            "cache_dir": str(folder / "cache"),
        },
        "model": {
            "query_tower": tower,
            "candidate_tower": tower,
            "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 20}},
            "loss": {"class_path": "SampledSoftmax", "init_args": {"repeats": "count_log_q"}},
            "optimizer": {"class_path": "LazyAdam", "init_args": {"lr": 0.001}},
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": steps,
            "limit_val_batches": 0,
            "logger": False,
            "enable_progress_bar": False,
        },
    }


FIT = """
import json, sys, time
from dssm_lightning.cli.main import main
from dssm_lightning.data import datamodule, retrieval_data

def timed(name, function):
    def run(*arguments, **settings):
        started = time.process_time()
        found = function(*arguments, **settings)
        print(name, time.process_time() - started, flush=True)
        return found

    return run

retrieval_data.prepare = timed("PREPARED", retrieval_data.prepare)
datamodule.RetrievalDataModule.setup = timed("STARTED", datamodule.RetrievalDataModule.setup)
cli = main(["fit", "--config", sys.argv[1]])
optimizer = cli.trainer.optimizers[0]
state = sum(v.nbytes for s in optimizer.state.values() for v in s.values() if hasattr(v, "nbytes"))
tables = sum(p.nbytes for p in cli.model.parameters())
print("TABLES", tables + state, flush=True)
print("ALL", time.process_time(), flush=True)
"""


def measure(folder: Path, steps: int, batch_size: int) -> dict[str, float]:
    """Prepare and train in a process of its own; seconds, and the peak of RssAnon in GiB."""
    folder = folder.absolute()
    for made in ("cache", "runs"):
        shutil.rmtree(folder / made, ignore_errors=True)
    config = folder / "fit.yaml"
    config.write_text(yaml.safe_dump(settings(folder, steps, batch_size)), encoding="utf-8")
    log = folder / "fit.log"
    with log.open("w", encoding="utf-8") as output:
        fit = subprocess.Popen(
            [sys.executable, "-c", FIT, "fit.yaml"], stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
        peaks, prepared = {"prepare": 0.0, "train": 0.0}, False
        while fit.poll() is None:
            prepared = prepared or "PREPARED" in log.read_text(encoding="utf-8")
            part = "train" if prepared else "prepare"
            peaks[part] = max(peaks[part], anonymous(fit.pid))
            time.sleep(0.05)
    told = log.read_text(encoding="utf-8")
    if fit.returncode:
        raise RuntimeError(f"the fit ended with {fit.returncode}:\n{told[-2000:]}")
    values = {
        line.split()[0]: float(line.split()[1])
        for line in told.splitlines()
        if line.startswith(("PREP", "START", "TABL", "ALL"))
    }
    return {
        "seconds to prepare": values["PREPARED"],
        "seconds to map the cache and start": values["STARTED"],
        "seconds in all": values["ALL"],
        "GiB to prepare": peaks["prepare"],
        "GiB to train": peaks["train"],
        "of which tables and optimizer": values["TABLES"] / 2**30,
    }


def anonymous(pid: int) -> float:
    """RssAnon of a process in GiB, 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("RssAnon")), 0.0)


def main(args: list[str] | None = None) -> None:
    """Make data, or measure a fit on them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["make", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=1024)
    options = parser.parse_args(args)
    if options.what == "make":
        make(options.folder, options.rows)
    else:
        print(json.dumps(measure(options.folder, options.steps, options.batch_size), indent=1))


if __name__ == "__main__":
    main()
