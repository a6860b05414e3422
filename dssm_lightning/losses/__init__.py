"""Losses: ``Scores`` -> one value for each query."""

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.losses.pairwise import BPR, TripletMargin
from dssm_lightning.losses.pointwise import BinaryCrossEntropy, CosineEmbedding
from dssm_lightning.losses.softmax import SampledSoftmax

__all__ = ["BPR", "BinaryCrossEntropy", "CosineEmbedding", "Loss", "SampledSoftmax", "Scores", "TripletMargin"]
