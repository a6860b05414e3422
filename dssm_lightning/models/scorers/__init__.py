"""Scorers: embeddings of queries and candidates -> logits."""

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.models.scorers.dot import Dot
from dssm_lightning.models.scorers.mlp import MLPScorer
from dssm_lightning.models.scorers.multi_head_dot import MultiHeadDot

__all__ = ["Dot", "MLPScorer", "MultiHeadDot", "Scorer"]
