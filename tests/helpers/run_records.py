"""Records of runs that were never trained, for the tests of what a report says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from dssm_lightning.reports.html_report.embedding_map import Geometry
from dssm_lightning.reports.html_report.run_record import Measured, RunRecord

CONFIG: dict[str, Any] = {
    "data": {
        "query": [{"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 500}}],
        "candidate": [
            {"class_path": "HashedTrigrams", "init_args": {"name": "title", "num_buckets": 500}},
            {"class_path": "Categorical", "init_args": {"name": "item_id"}},
        ],
    },
    "model": {
        "loss": {"class_path": "SampledSoftmax", "init_args": {"repeats": "ignore"}},
        "scorer": {"class_path": "Dot", "init_args": {"learnable": True}},
        "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.01}},
        "candidate_tower": {
            "init_args": {"encoders": {"item_id": {"class_path": "Embedding", "init_args": {"output_dim": 16}}}}
        },
    },
    "checkpoint": {"monitor": "val/mrr"},
}
HEALTHY = Geometry("candidates", rows=1000, width=64, rank=40.0, cosine=0.1, uniformity=-3.0)


def measured(name: str, mrr: float, **metrics: float) -> Measured:
    """The test of 60 queries with nearly equal values around a mean."""
    values = [mrr + (0.01 if number % 2 else -0.01) for number in range(60)]
    rows = pl.DataFrame({"query_id": [f"q{number}" for number in range(60)], "mrr": values})
    return Measured(name, {"mrr": mrr, **metrics}, rows)


def record(**changes: Any) -> RunRecord:
    """A tested run with a better and a worse baseline than nothing, and a curve that has ended."""
    settings: dict[str, Any] = {
        "folder": Path("runs/shop/version_0"),
        "config": CONFIG,
        "checkpoint": Path("runs/shop/version_0/checkpoints/best.ckpt"),
        "curves": {"val/mrr": [(1, 0.3), (2, 0.5), (3, 0.5)], "train/negatives": [(3, 500.0)]},
        "model": measured("this model", 0.5),
        "intervals": {},
        "baselines": [measured("BM25(k1=1.2, b=0.75)", 0.2), measured("Popularity()", 0.1)],
        "hybrid": None,
        "notes": [],
    }
    return RunRecord(**{**settings, **changes})
