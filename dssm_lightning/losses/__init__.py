"""Losses: ``Scores`` -> one value for each query."""

from dssm_lightning.losses.base import Loss, Scores, Taught
from dssm_lightning.losses.distillation import EmbeddingMSE, KLDivergence, MarginMSE
from dssm_lightning.losses.hard_negatives import WARP, HardestNegative
from dssm_lightning.losses.matryoshka import Matryoshka
from dssm_lightning.losses.objectives import Objectives
from dssm_lightning.losses.pairwise import BPR, TripletMargin
from dssm_lightning.losses.pointwise import GBCE, BinaryCrossEntropy, CosineEmbedding, SigLIP
from dssm_lightning.losses.rating_head import RatingHead
from dssm_lightning.losses.reconstruction import ELSA
from dssm_lightning.losses.softmax import SampledSoftmax
from dssm_lightning.losses.weighted_sum import WeightedSum

__all__ = [
    "BPR",
    "ELSA",
    "GBCE",
    "WARP",
    "BinaryCrossEntropy",
    "CosineEmbedding",
    "EmbeddingMSE",
    "HardestNegative",
    "KLDivergence",
    "Loss",
    "MarginMSE",
    "Matryoshka",
    "Objectives",
    "RatingHead",
    "SampledSoftmax",
    "Scores",
    "SigLIP",
    "Taught",
    "TripletMargin",
    "WeightedSum",
]
