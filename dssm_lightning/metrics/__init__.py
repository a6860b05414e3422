"""How a ranking is judged: places of the relevant candidates, and metrics that are functions of them."""

from dssm_lightning.metrics.observed import ObservedAUROC
from dssm_lightning.metrics.ranks import Ranks, rank, rank_both
from dssm_lightning.metrics.retrieval import (
    MAP,
    MRR,
    NDCG,
    CutMetric,
    HitRate,
    Precision,
    QueryAUROC,
    RankMetric,
    Recall,
)

__all__ = [
    "MAP",
    "MRR",
    "NDCG",
    "CutMetric",
    "HitRate",
    "ObservedAUROC",
    "Precision",
    "QueryAUROC",
    "RankMetric",
    "Ranks",
    "Recall",
    "rank",
    "rank_both",
]
