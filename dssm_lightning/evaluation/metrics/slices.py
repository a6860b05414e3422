"""Who and what is served well: metrics again for some of the queries, or for some of the relevant candidates."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from dssm_lightning.evaluation.metrics.ranking_metrics import (
    MRR,
    NDCG,
    HitRate,
    NumQueries,
    QueryAUROC,
    RankMetric,
    Recall,
)
from dssm_lightning.evaluation.metrics.ranks import Ranks
from dssm_lightning.utils.ragged import Ragged

SLICES = ("cold_queries", "cold_candidates", "head", "middle", "tail")
HEAD, MIDDLE, TAIL = 0, 1, 2


class MetricSlices(nn.Module):
    """A few metrics of each slice, as ``head/recall@10``, and ``head/queries``: how many queries it has.

    ``cold_queries`` are those without a training positive. The other slices say which relevant candidates count:
    ``cold_candidates`` are nobody's training positive, ``head``, ``middle`` and ``tail`` are :func:`popularity_bands`.
    ``groups`` name further slices of candidates, ``query_groups`` of queries. What a slice leaves out stays in the
    ranking as a rival, so a value is what an evaluation would find to which only the slice's candidates are relevant.

    Args:
        ks: cuts of the evaluation; hit rate, recall and NDCG at 10 and recall at 100 are given if they are among them.
        popularity: (N,) training positives of each candidate.
        groups: by name (N,) which candidates count.
        query_groups: by name, for every row of the queries' table, whether it counts.
    """

    def __init__(
        self,
        ks: list[int],
        popularity: Tensor,
        groups: dict[str, Tensor] | None = None,
        query_groups: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        band = popularity_bands(popularity)
        bands = {name: band == number for name, number in (("head", HEAD), ("middle", MIDDLE), ("tail", TAIL))}
        self._chosen = {"cold_candidates": popularity == 0, **bands, **(groups or {})}  # (N,) each
        self._asking = query_groups or {}
        self._names = ["cold_queries", *self._chosen, *self._asking]
        self.collections = nn.ModuleList(_collection(ks, name) for name in self._names)

    @property
    def metrics(self) -> list[tuple[str, RankMetric]]:
        """What is measured in each slice, by its name: how many queries it has apart."""
        named = [item for collection in self._collections for item in collection.items()]
        return [(name, cast(RankMetric, metric)) for name, metric in named if not isinstance(metric, NumQueries)]

    def update(self, ranks: Ranks, relevant: Ragged, liked: Tensor, query_row: Tensor) -> Tensor:
        """Adds a batch of queries, and returns (Q, M) their values for each of ``metrics``, NaN where one has none.

        Args:
            ranks: places of their T relevant candidates.
            relevant: which candidates these are.
            liked: (Q,) how many training positives each query has.
            query_row: (Q,) its row in the queries' table.
        """
        candidate = relevant.values.long()
        cold_query = (liked == 0)[ranks.rows]
        asked = query_row.long()[ranks.rows]
        slices = [
            cold_query,
            *(chosen.to(candidate.device)[candidate] for chosen in self._chosen.values()),
            *(chosen.to(asked.device)[asked] for chosen in self._asking.values()),
        ]
        values = []
        for collection, chosen in zip(self._collections, slices, strict=True):
            kept = ranks.only(chosen)
            collection.update(kept)
            measured = [
                cast(RankMetric, metric) for metric in collection.values() if not isinstance(metric, NumQueries)
            ]
            values += [metric.by_row(kept) for metric in measured]
        return torch.stack(values, dim=1)

    def compute(self) -> dict[str, Tensor]:
        """Every metric of every slice that has a query: a collective that every rank must call."""
        values: dict[str, Tensor] = {}
        for name, collection in zip(self._names, self._collections, strict=True):
            found = collection.compute()
            if found[f"{name}/queries"]:
                values |= {key: value for key, value in found.items() if not value.isnan()}
        return values

    def reset(self) -> None:
        """Forgets all queries."""
        for collection in self._collections:
            collection.reset()

    @property
    def _collections(self) -> list[MetricCollection]:
        return [cast(MetricCollection, each) for each in self.collections]


def popularity_bands(popularity: Tensor) -> Tensor:
    """(N,) training positives of each candidate -> (N,) int64 HEAD, MIDDLE or TAIL.

    Candidates are sorted by training positives, most first, those with equally many by corpus row. The head is as many
    of the first as it takes to hold a third of all training positives, the middle as many of the next as it takes to
    hold two thirds together with the head, the tail all the rest: also what nobody liked.
    """
    order = popularity.argsort(descending=True, stable=True)
    held = popularity[order].cumsum(0)
    before, total = held - popularity[order], popularity.sum()
    band = torch.empty_like(order)
    band[order] = torch.where(3 * before < total, HEAD, torch.where(3 * before < 2 * total, MIDDLE, TAIL))
    return band


def _collection(ks: list[int], name: str) -> MetricCollection:
    wanted = [("hit_rate", HitRate, 10), ("recall", Recall, 10), ("recall", Recall, 100), ("ndcg", NDCG, 10)]
    metrics: dict[str, Metric | MetricCollection] = {f"{label}@{k}": make(k) for label, make, k in wanted if k in ks}
    metrics |= {"mrr": MRR(), "query_auroc": QueryAUROC(), "queries": NumQueries()}
    return MetricCollection(metrics, prefix=f"{name}/", compute_groups=False)  # why none: see `evaluation.py`
