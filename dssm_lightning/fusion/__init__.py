"""How the encodings of one side's features become one vector."""

from dssm_lightning.fusion.base import Fusion, FusionFactory
from dssm_lightning.fusion.heads import FMScore, Parallel
from dssm_lightning.fusion.interactions import FM, Cross, Gated, SENet
from dssm_lightning.fusion.plain import MLP, Concat, Sum

__all__ = ["FM", "MLP", "Concat", "Cross", "FMScore", "Fusion", "FusionFactory", "Gated", "Parallel", "SENet", "Sum"]
