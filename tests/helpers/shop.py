"""A small shop whose visitors click and buy: tables, data and losses of several objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import Categorical

OBJECTIVES: dict[str, str | None] = {"click": "clicked", "buy": "price > 0"}


def shop_log(visitors: int = 60, items: int = 40, shown: int = 20, seed: int = 0) -> pl.DataFrame:
    """What each visitor was shown: a click on items of the visitor's kind, and a purchase of a third of the clicked."""
    rng = np.random.default_rng(seed)
    visitor = np.repeat(np.arange(visitors), shown)
    item = np.concatenate([rng.permutation(items)[:shown] for _ in range(visitors)])
    clicked = (visitor % 4 == item % 4) | (rng.random(len(item)) < 0.1)
    bought = clicked & (item % 3 == 0)
    stars = np.where(clicked, np.clip(3 + (item % 5) - 2 + rng.normal(0, 0.3, len(item)), 1, 5).round(1), np.nan)
    return pl.DataFrame(
        {
            "visitor": visitor,
            "item": item,
            "clicked": clicked.astype(int),
            "price": np.where(bought, 9.5, 0.0),
            "stars": pl.Series(stars).fill_nan(None),
        }
    )


def shop_data(cache_dir: Path, log: pl.DataFrame | None = None, **changes: Any) -> RetrievalDataModule:
    """The shop with ids as features."""
    settings: dict[str, Any] = {
        "source": Frames(shop_log() if log is None else log, query_id="visitor", candidate_id="item"),
        "query": [Categorical(name="visitor")],
        "candidate": [Categorical(name="item")],
        "split": RandomRows(test=0.2, validation=0.2),
        "batch_size": 64,
        "objectives": OBJECTIVES,
        "cache_dir": str(cache_dir),
    }
    return RetrievalDataModule(**(settings | changes))


def objectives(weights: Any = None, **losses: Any) -> dict[str, Any]:
    """The loss as plain values; without names a softmax of clicks and of purchases."""
    found = losses or {"click": "SampledSoftmax", "buy": "SampledSoftmax"}
    return {"class_path": "Objectives", "init_args": {"losses": found, "weights": weights}}
