"""Two-tower (DSSM) retrieval with PyTorch Lightning.

The names below are imported when they are first used: ``import dssm_lightning`` loads neither torch nor Lightning.

Example:
    >>> import dssm_lightning
    >>> dssm_lightning.Tower.__module__
    'dssm_lightning.models.tower'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dssm_lightning.api import load_data, load_model, load_retriever, make_retriever
    from dssm_lightning.cli.main import main
    from dssm_lightning.data.datamodule import RetrievalDataModule
    from dssm_lightning.data.sources import Files, Frames
    from dssm_lightning.evaluation.evaluate_vectors import evaluate_vectors
    from dssm_lightning.models.tower import Tower
    from dssm_lightning.models.two_tower import TwoTowerModel
    from dssm_lightning.retrieval.retriever import Retriever
    from dssm_lightning.training.module import TwoTower
    from dssm_lightning.utils.errors import UserError

__version__ = "0.1.0"

_HOME = {
    "Files": "dssm_lightning.data.sources",
    "Frames": "dssm_lightning.data.sources",
    "RetrievalDataModule": "dssm_lightning.data.datamodule",
    "Retriever": "dssm_lightning.retrieval.retriever",
    "Tower": "dssm_lightning.models.tower",
    "TwoTower": "dssm_lightning.training.module",
    "TwoTowerModel": "dssm_lightning.models.two_tower",
    "UserError": "dssm_lightning.utils.errors",
    "evaluate_vectors": "dssm_lightning.evaluation.evaluate_vectors",
    "load_data": "dssm_lightning.api",
    "load_model": "dssm_lightning.api",
    "load_retriever": "dssm_lightning.api",
    "main": "dssm_lightning.cli.main",
    "make_retriever": "dssm_lightning.api",
}

__all__ = [
    "Files",
    "Frames",
    "RetrievalDataModule",
    "Retriever",
    "Tower",
    "TwoTower",
    "TwoTowerModel",
    "UserError",
    "evaluate_vectors",
    "load_data",
    "load_model",
    "load_retriever",
    "main",
    "make_retriever",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dssm_lightning' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
