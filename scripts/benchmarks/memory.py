"""Peak memory as ``bench.py`` measures it: of fits and of an evaluation, beside what they cannot do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from large_data import anonymous, settings

from benchmarks.report import Row, Section

ROOT = Path(__file__).resolve().parents[2]
FIT = ("configs/emoji.yaml", "configs/movielens-1m-history.yaml")
FEW_STEPS = [
    "--trainer.max_epochs",
    "1",
    "--trainer.limit_train_batches",
    "20",
    "--trainer.enable_progress_bar",
    "false",
]


def memory(
    configs: Sequence[str] = FIT,
    words: Sequence[str] = FEW_STEPS,
    num_candidates: int = 1_000_000,
    num_queries: int = 64,
) -> Section:
    """The peak memory of a fit or an evaluation, against what must be held.

    Each runs in a process of its own, whose anonymous pages (RssAnon) are looked at a hundred times a second. A fit
    has 20 steps, a validation of all held-out queries and its checkpoints. The evaluation is a `test` of 64 queries
    over 1,000,000 candidates, 64 wide, from towers over hashed ids. The data are prepared before.

    What must be held is computed from the objects of the same process: weights, gradients, optimizer state, the
    encoded tables that are not mapped from files, and the greater of a step (its batch and the tensors that autograd
    saves for the backward pass) and an evaluation (the corpus' embeddings and the scores of a batch of queries). Added
    is what a process holds that only imports the same modules: Python, torch, Lightning and the others.

    The configs on MovieLens are measured where `DSSM_DATA` says where the data lie.
    """
    rows, notes = [], []
    for config in configs:
        if "movielens" in config and not os.environ.get("DSSM_DATA"):
            notes.append(f"`{config}` was not measured: `DSSM_DATA` is not set.")
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = ["fit", "--config", str(ROOT / config), *words, "--data.cache_dir", "cache"]
            _add(f"fit, `{config}`", measured(command, Path(folder)), rows, notes)
    with tempfile.TemporaryDirectory() as folder:
        config = evaluation_config(Path(folder), num_candidates, num_queries)
        what = f"evaluation, {num_candidates:,} candidates × 64"
        _add(what, measured(["test", "--config", str(config)], Path(folder)), rows, notes)
    return Section("Memory", rows, notes)


def _add(what: str, found: dict[str, float], rows: list[Row], notes: list[str]) -> None:
    peak = found.pop("peak")
    rows.append(Row(what, "MiB", [peak], [sum(found.values())], "what must be held: 1"))
    notes.append(f"{what}: " + ", ".join(f"{name} {size:,.0f} MiB" for name, size in found.items()) + ".")


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command of the package twice, first to prepare its data.

    Returns:
        MiB: ``peak``, and each part that must be held by its name.
    """
    report = folder / "report.json"
    prefix = [sys.executable, "-m", "benchmarks.memory_child", str(report)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(ROOT), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}
    peak = 0.0
    for _ in range(2):
        with (folder / "log").open("w", encoding="utf-8") as log:
            child = subprocess.Popen([*prefix, *command], stdout=log, stderr=log, cwd=folder, env=environment)
            peak = 0.0
            while child.poll() is None:
                peak = max(peak, 1024 * anonymous(child.pid))
                time.sleep(0.01)
        if child.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {child.returncode}: {(folder / 'log').read_text()[-2000:]}"
            )
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    words, names = [sys.executable, "-m", "benchmarks.memory_child", "--imports"], "\n".join(found["modules"])
    done = subprocess.run(words, input=names, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return {"peak": peak, "imports": float(done.stdout.splitlines()[-1]), **found["sizes"]}


def evaluation_config(folder: Path, num_candidates: int, num_queries: int) -> Path:
    """Write data of as many candidates, of whose events some are tested, and their config; return the config."""
    rng, num_events = np.random.default_rng(0), 100 * num_queries
    tables = {
        "interactions": {"user_id": np.arange(num_events), "item_id": rng.integers(num_candidates, size=num_events)},
        "queries": {"user_id": np.arange(num_events)},
        "candidates": {"item_id": np.arange(num_candidates)},
    }
    files = {name: str(folder / f"{name}.parquet") for name in tables}
    for name, columns in tables.items():
        pl.DataFrame(columns).write_parquet(files[name])
    made = settings(folder, steps=1, batch_size=1024)
    made["data"] |= {
        "source": {"class_path": "Files", "init_args": {**files, "query_id": "user_id", "candidate_id": "item_id"}},
        "split": {"class_path": "RandomRows", "init_args": {"test": num_queries / num_events, "validation": 0.0}},
    }
    for side in ("query", "candidate"):
        made["data"][side][0]["init_args"]["num_buckets"] = 100_000
    path = folder / "evaluation.yaml"
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    return path
