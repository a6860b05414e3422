"""What a trained model must beat: methods without gradients, judged by the same evaluation."""

from dssm_lightning.baselines.base import Baseline, BaselineData
from dssm_lightning.baselines.interactions import EASE, ItemKNN, Popularity
from dssm_lightning.baselines.labels import LabelMeans
from dssm_lightning.baselines.text import BM25, TfIdf

__all__ = [
    "BM25",
    "EASE",
    "Baseline",
    "BaselineData",
    "ItemKNN",
    "LabelMeans",
    "Popularity",
    "TfIdf",
    "default_baselines",
]


def default_baselines() -> list[Baseline]:
    """Every baseline with its usual settings, and EASE with three weights of its penalty: one row each in a table."""
    return [Popularity(), ItemKNN(), EASE(l2=100.0), EASE(l2=300.0), EASE(l2=1000.0), LabelMeans(), TfIdf(), BM25()]
