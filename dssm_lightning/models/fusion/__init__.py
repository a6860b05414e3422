"""Fusions: the encodings of one side's features -> one vector."""

from dssm_lightning.models.fusion.base import Fusion, FusionFactory
from dssm_lightning.models.fusion.interactions import FM, Cross, Gated, SENet
from dssm_lightning.models.fusion.plain import MLP, Concat, Sum
from dssm_lightning.models.fusion.scoring_heads import FMScore, Parallel

__all__ = ["FM", "MLP", "Concat", "Cross", "FMScore", "Fusion", "FusionFactory", "Gated", "Parallel", "SENet", "Sum"]
