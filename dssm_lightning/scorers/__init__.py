"""Where the two towers meet: embeddings of queries and candidates in, logits out."""

from dssm_lightning.scorers.base import Scorer
from dssm_lightning.scorers.dot import Dot
from dssm_lightning.scorers.heads import MultiHeadDot
from dssm_lightning.scorers.mlp import MLPScorer

__all__ = ["Dot", "MLPScorer", "MultiHeadDot", "Scorer"]
