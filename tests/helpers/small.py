"""A small world in a few lines: data, model and trainer for the tests of what joins them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, HashedWords

TOWER: dict[str, Any] = {
    "class_path": "dssm_lightning.Tower",
    "init_args": {"fusion": "dssm_lightning.models.fusion.Concat", "output_dim": 16},
}
LOSS = {"class_path": "dssm_lightning.losses.SampledSoftmax"}
SCORER = {"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 10}}
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}}


def small_data(cache_dir: Path, **changes: Any) -> RetrievalDataModule:
    """60 queries and 40 candidates with one text feature on each side, and the ids."""
    settings: dict[str, Any] = {
        "source": Synthetic(num_queries=60, num_candidates=40),
        "query": [HashedWords(name="text", num_buckets=300)],
        "candidate": [Categorical(name="candidate_id"), HashedWords(name="text", num_buckets=300)],
        "split": PerQuery(test=0.2, validation=0.2),
        "batch_size": 32,
        "cache_dir": str(cache_dir),
    }
    return RetrievalDataModule(**(settings | changes))


def small_model(**changes: Any) -> TwoTower:
    """Plain towers, described by plain values."""
    settings: dict[str, Any] = {
        "query_tower": TOWER,
        "candidate_tower": TOWER,
        "scorer": SCORER,
        "loss": LOSS,
        "optimizer": ADAM,
    }
    return TwoTower(**(settings | changes))


def small_trainer(folder: Path, **changes: Any) -> Trainer:
    """One quiet epoch on the CPU, with neither logs nor checkpoints unless asked for."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return Trainer(**(settings | changes))


TEXT_CONFIG: dict[str, Any] = {
    "seed_everything": 1,
    "data": {
        "source": {"class_path": "Synthetic", "init_args": {"num_queries": 100, "num_candidates": 60}},
        "split": {"class_path": "PerQuery", "init_args": {"test": 0.2, "validation": 0.2}},
        "batch_size": 64,
        "query": [{"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}}],
        "candidate": [{"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}}],
    },
    "model": {
        "query_tower": {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}},
        "candidate_tower": {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}},
        "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 10}},
        "loss": "SampledSoftmax",
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
    },
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 3,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    },
    "checkpoint": {"monitor": "val/mrr"},
}
"""A run of one text on each side, as a config."""


def write_config(path: Path, **sections: dict[str, Any]) -> Path:
    """``TEXT_CONFIG`` as a file, with settings of its sections (one level deep) replaced."""
    settings = {
        key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value
        for key, value in TEXT_CONFIG.items()
    }
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path
