"""Losses: ``Scores`` -> one value for each query."""

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.losses.hard_negatives import WARP, HardestNegative
from dssm_lightning.losses.pairwise import BPR, TripletMargin
from dssm_lightning.losses.pointwise import BinaryCrossEntropy, CosineEmbedding, SigLIP
from dssm_lightning.losses.softmax import SampledSoftmax

__all__ = [
    "BPR",
    "WARP",
    "BinaryCrossEntropy",
    "CosineEmbedding",
    "HardestNegative",
    "Loss",
    "SampledSoftmax",
    "Scores",
    "SigLIP",
    "TripletMargin",
]
