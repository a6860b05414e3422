"""Metrics of slices: of some of the queries, or of some of the relevant candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from dssm_lightning.evaluation.metrics.base import RankMetric
from dssm_lightning.evaluation.metrics.ranking_metrics import (
    MRR,
    NDCG,
    HitRate,
    NumQueries,
    QueryAUROC,
    Recall,
)
from dssm_lightning.evaluation.metrics.ranks import Ranks
from dssm_lightning.utils.ragged import Ragged

SLICES = ("cold_queries", "cold_candidates", "head", "middle", "tail")
HEAD, MIDDLE, TAIL = 0, 1, 2


class RankSlices(nn.Module):
    """A few metrics of each of several slices, which select relevant candidates; the others stay as rivals.

    Args:
        ks: cut-offs of the evaluation; each slice has hit rate, recall and NDCG at 10 and recall at 100 if ``ks`` has
            10 and 100.
        names: of the slices.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> ranks = rank(torch.tensor([[1.0, 3.0, 2.0]]), Ragged.from_lengths(torch.tensor([0, 1]), torch.tensor([2])))
        >>> slices = RankSlices([10], ["click", "buy"])
        >>> _ = slices.add(ranks, torch.tensor([[True, True], [True, False]]).unbind(1))  # only candidate 0 is bought
        >>> values = slices.compute()
        >>> values["click/mrr"].item(), round(values["buy/mrr"].item(), 3)
        (1.0, 0.333)
    """

    def __init__(self, ks: list[int], names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.collections = nn.ModuleList(_collection(ks, name) for name in self.names)

    @property
    def metrics(self) -> list[tuple[str, RankMetric]]:
        """The metrics of all slices with their names, without the numbers of queries."""
        named = [item for collection in self._collections for item in collection.items()]
        return [(name, cast(RankMetric, metric)) for name, metric in named if not isinstance(metric, NumQueries)]

    def add(self, ranks: Ranks, masks: Sequence[Tensor]) -> Tensor:
        """Add a batch of queries.

        Args:
            ranks: ranks of their T relevant candidates.
            masks: for each slice (T,) bool, which of them it selects.

        Returns:
            (Q, M) the value of each query for each of ``metrics``, NaN where a query has no value.
        """
        values = []
        for collection, mask in zip(self._collections, masks, strict=True):
            kept = ranks.only(mask)
            collection.update(kept)
            metrics = [cast(RankMetric, each) for each in collection.values() if not isinstance(each, NumQueries)]
            values += [metric.by_row(kept) for metric in metrics]
        return torch.stack(values, dim=1)

    def compute(self) -> dict[str, Tensor]:
        """Return every metric of every slice that has a query. This is a collective: every process must call it."""
        values: dict[str, Tensor] = {}
        for name, collection in zip(self.names, self._collections, strict=True):
            found = collection.compute()
            if found[f"{name}/queries"]:
                values |= {key: value for key, value in found.items() if not value.isnan()}
        return values

    def reset(self) -> None:
        """Remove all queries."""
        for collection in self._collections:
            collection.reset()

    @property
    def _collections(self) -> list[MetricCollection]:
        return [cast(MetricCollection, each) for each in self.collections]


class MetricSlices(RankSlices):
    """A few metrics of each slice, named as in ``head/recall@10``, and its number of queries, as ``head/queries``.

    The slice ``cold_queries`` has the queries without a training positive. The other slices select relevant
    candidates: ``cold_candidates`` are no query's training positive; ``head``, ``middle`` and ``tail`` are the
    :func:`popularity_bands`. ``groups`` add slices of candidates, ``query_groups`` add slices of queries, and
    ``objectives`` slices of pairs: those that are positives of an objective. A relevant
    candidate outside a slice stays in the ranking as a rival. A slice's value therefore equals the value of an
    evaluation in which only the slice's candidates are relevant.

    Args:
        ks: cut-offs of the evaluation; each slice has hit rate, recall and NDCG at 10 and recall at 100 if ``ks`` has
            10 and 100.
        popularity: (N,) training positives of each candidate.
        groups: by name (N,) bool, the candidates of the slice.
        query_groups: by name (rows of the query table,) bool, the queries of the slice.
        objectives: their names.

    Example:
        >>> from dssm_lightning.evaluation.metrics import rank
        >>> slices = MetricSlices([10], popularity=torch.tensor([5, 0, 1]))
        >>> relevant = Ragged.from_lengths(torch.tensor([0, 1]), torch.tensor([2]))  # ranks 2 and 0
        >>> ranks = rank(torch.tensor([[1.0, 3.0, 2.0]]), relevant)
        >>> _ = slices.update(ranks, relevant, liked=torch.tensor([1]), query_row=torch.tensor([0]))
        >>> values = slices.compute()
        >>> round(values["head/mrr"].item(), 3), values["cold_candidates/mrr"].item()
        (0.333, 1.0)
    """

    def __init__(
        self,
        ks: list[int],
        popularity: Tensor,
        groups: dict[str, Tensor] | None = None,
        query_groups: dict[str, Tensor] | None = None,
        objectives: Sequence[str] = (),
    ) -> None:
        band = popularity_bands(popularity)
        bands = {name: band == number for name, number in (("head", HEAD), ("middle", MIDDLE), ("tail", TAIL))}
        masks = {"cold_candidates": popularity == 0, **bands, **(groups or {})}  # (N,) each
        super().__init__(ks, ["cold_queries", *masks, *(query_groups or {}), *objectives])
        self._candidate_masks, self._query_masks = masks, query_groups or {}

    def update(
        self, ranks: Ranks, relevant: Ragged, liked: Tensor, query_row: Tensor, objectives: Tensor | None = None
    ) -> Tensor:
        """Add a batch of queries.

        Args:
            ranks: ranks of their T relevant candidates.
            relevant: the corpus rows of these candidates.
            liked: (Q,) number of training positives of each query.
            query_row: (Q,) its row in the query table.
            objectives: (T, O) bool, the objectives of each relevant candidate; None = there are none.

        Returns:
            (Q, M) the value of each query for each of ``metrics``, NaN where a query has no value.
        """
        candidate = relevant.values.long()
        is_cold = (liked == 0)[ranks.rows]
        owner = query_row.long()[ranks.rows]
        masks = [
            is_cold,
            *(mask.to(candidate.device)[candidate] for mask in self._candidate_masks.values()),
            *(mask.to(owner.device)[owner] for mask in self._query_masks.values()),
            *(() if objectives is None else objectives.unbind(1)),
        ]
        return self.add(ranks, masks)


def popularity_bands(popularity: Tensor) -> Tensor:
    """Divide candidates by training positives (N,) into HEAD, MIDDLE and TAIL: (N,) int64.

    Candidates are sorted by training positives, most first; equal numbers stay in the order of the corpus. The head is
    the shortest beginning with at least a third of all training positives. Head and middle together are the shortest
    beginning with at least two thirds. The tail is the rest, candidates without a training positive included.

    Example:
        >>> popularity_bands(torch.tensor([1, 3, 0, 5, 2, 1])).tolist()
        [2, 1, 2, 0, 2, 2]
    """
    order = popularity.argsort(descending=True, stable=True)
    through = popularity[order].cumsum(0)
    before, total = through - popularity[order], popularity.sum()
    band = torch.empty_like(order)
    band[order] = torch.where(3 * before < total, HEAD, torch.where(3 * before < 2 * total, MIDDLE, TAIL))
    return band


def _collection(ks: list[int], name: str) -> MetricCollection:
    wanted = [("hit_rate", HitRate, 10), ("recall", Recall, 10), ("recall", Recall, 100), ("ndcg", NDCG, 10)]
    metrics: dict[str, Metric | MetricCollection] = {f"{label}@{k}": make(k) for label, make, k in wanted if k in ks}
    metrics |= {"mrr": MRR(), "query_auroc": QueryAUROC(), "queries": NumQueries()}
    return MetricCollection(metrics, prefix=f"{name}/", compute_groups=False)  # see `evaluator._collection`
