"""How a ranking is judged: places of the relevant candidates, and metrics that are functions of them."""

from dssm_lightning.metrics.observed import ObservedAUROC
from dssm_lightning.metrics.ranks import Ranks, rank, rank_both
from dssm_lightning.metrics.recommended import Recommended
from dssm_lightning.metrics.retrieval import (
    MAP,
    MRR,
    NDCG,
    CutMetric,
    HitRate,
    NumQueries,
    Precision,
    QueryAUROC,
    RankMetric,
    Recall,
)
from dssm_lightning.metrics.rows import RowKeeper, RowValues
from dssm_lightning.metrics.slices import Slices

__all__ = [
    "MAP",
    "MRR",
    "NDCG",
    "CutMetric",
    "HitRate",
    "NumQueries",
    "ObservedAUROC",
    "Precision",
    "QueryAUROC",
    "RankMetric",
    "Ranks",
    "Recall",
    "Recommended",
    "RowKeeper",
    "RowValues",
    "Slices",
    "rank",
    "rank_both",
]
