"""Methods without gradients that a trained model must beat, measured by the same evaluation."""

from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.candidate_content import AttributePopularity, ContentTfIdf
from dssm_lightning.evaluation.baselines.choice import choose_baselines, default_baselines
from dssm_lightning.evaluation.baselines.ease import EASE
from dssm_lightning.evaluation.baselines.item_knn import ItemKNN
from dssm_lightning.evaluation.baselines.label_means import LabelMeans
from dssm_lightning.evaluation.baselines.pixels import PixelCosine
from dssm_lightning.evaluation.baselines.popularity import PopularityBaseline, RecentPopularity
from dssm_lightning.evaluation.baselines.text import TermBaseline

__all__ = [
    "EASE",
    "AttributePopularity",
    "Baseline",
    "BaselineData",
    "ContentTfIdf",
    "ItemKNN",
    "LabelMeans",
    "PixelCosine",
    "PopularityBaseline",
    "RecentPopularity",
    "TermBaseline",
    "choose_baselines",
    "default_baselines",
]
