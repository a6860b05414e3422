"""Metrics of a ranking: the ranks of the relevant candidates, and functions of these ranks."""

from dssm_lightning.evaluation.metrics.base import CutMetric, RankMetric
from dssm_lightning.evaluation.metrics.pair_auroc import ObservedAUROC
from dssm_lightning.evaluation.metrics.ranking_metrics import (
    MAP,
    MRR,
    NDCG,
    HitRate,
    ListsWithoutPositive,
    NumQueries,
    Precision,
    QueryAUROC,
    Recall,
)
from dssm_lightning.evaluation.metrics.ranks import Ranks, places_in_lists, rank, rank_both, rank_lists
from dssm_lightning.evaluation.metrics.recommended_lists import Recommended
from dssm_lightning.evaluation.metrics.row_values import RowKeeper, RowValues
from dssm_lightning.evaluation.metrics.slices import MetricSlices, RankSlices

__all__ = [
    "MAP",
    "MRR",
    "NDCG",
    "CutMetric",
    "HitRate",
    "ListsWithoutPositive",
    "MetricSlices",
    "NumQueries",
    "ObservedAUROC",
    "Precision",
    "QueryAUROC",
    "RankMetric",
    "RankSlices",
    "Ranks",
    "Recall",
    "Recommended",
    "RowKeeper",
    "RowValues",
    "places_in_lists",
    "rank",
    "rank_both",
    "rank_lists",
]
