"""Where the two towers meet: embeddings of queries and candidates in, logits out."""

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.models.scorers.dot import Dot
from dssm_lightning.models.scorers.mlp import MLPScorer
from dssm_lightning.models.scorers.multi_head_dot import MultiHeadDot

__all__ = ["Dot", "MLPScorer", "MultiHeadDot", "Scorer"]
