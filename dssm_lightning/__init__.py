"""Two-tower (DSSM) retrieval with PyTorch Lightning.

The names below are imported when they are first asked for: who serves queries never imports Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "RetrievalDataModule": "dssm_lightning.data.datamodule",
    "Retriever": "dssm_lightning.retrieval.retriever",
    "Tower": "dssm_lightning.models.tower",
    "TwoTower": "dssm_lightning.training.module",
    "load_retriever": "dssm_lightning.api",
    "make_retriever": "dssm_lightning.api",
    "main": "dssm_lightning.cli.main",
}

__all__ = ["RetrievalDataModule", "Retriever", "Tower", "TwoTower", "load_retriever", "main", "make_retriever"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dssm_lightning' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
