"""How a ranking is judged: places of the relevant candidates, and metrics that are functions of them."""

from dssm_lightning.evaluation.metrics.pair_auroc import ObservedAUROC
from dssm_lightning.evaluation.metrics.ranking_metrics import (
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
from dssm_lightning.evaluation.metrics.ranks import Ranks, rank, rank_both
from dssm_lightning.evaluation.metrics.recommended_lists import Recommended
from dssm_lightning.evaluation.metrics.row_values import RowKeeper, RowValues
from dssm_lightning.evaluation.metrics.slices import MetricSlices

__all__ = [
    "MAP",
    "MRR",
    "NDCG",
    "CutMetric",
    "HitRate",
    "MetricSlices",
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
    "rank",
    "rank_both",
]
