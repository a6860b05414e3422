"""The whole corpus, always: scores of queries against every candidate in, named metrics under both protocols out."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.ranked_candidates import Ranking
from dssm_lightning.evaluation.metrics import (
    MAP,
    MRR,
    NDCG,
    CutMetric,
    HitRate,
    MetricSlices,
    ObservedAUROC,
    Precision,
    QueryAUROC,
    RankMetric,
    Ranks,
    Recall,
    Recommended,
    RowKeeper,
    RowValues,
    rank_both,
)
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

DEFAULT_KS = (1, 5, 10, 50, 100)
SEEN_KEPT = "seen_kept/"
_CUT: dict[str, type[CutMetric]] = {
    "hit_rate": HitRate,
    "recall": Recall,
    "precision": Precision,
    "ndcg": NDCG,
    "map": MAP,
}


class Evaluation(nn.Module):
    """All metrics of an evaluation, gathered batch by batch.

    Names are ``hit_rate@k``, ``recall@k``, ``precision@k``, ``ndcg@k``, ``map@k``, ``mrr``, ``query_auroc`` with the
    training positives of each query masked, the same names after ``seen_kept/`` with them kept in the ranking, and,
    where the data has labels, ``auroc`` over the observed pairs (relevant against shown and not liked).

    Both protocols share one comparison with the corpus, and all metrics of a protocol share its places. The states
    are torchmetrics states: they move with the module that holds this one, and add up over ranks in :meth:`compute`.

    Args:
        ks: cuts, as :func:`resolve_ks` returns them.
        labelled: whether the data tells shown-and-not-liked from never shown.
    """

    def __init__(self, ks: list[int], labelled: bool) -> None:
        super().__init__()
        self.seen_masked = _collection(ks, prefix="")
        self.seen_kept = _collection(ks, prefix=SEEN_KEPT)
        self.auroc = ObservedAUROC() if labelled else None

    @property
    def names(self) -> list[str]:
        """What :meth:`compute` names in every evaluation."""
        return [*self.seen_masked, *self.seen_kept, *([] if self.auroc is None else ["auroc"])]

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Adds a batch of queries, and returns their places with seen candidates masked, and kept.

        Args:
            scores: (Q, N) finite scores of the whole corpus, in float32: half precision makes ties.
            batch: the queries that were scored.

        Raises:
            ValueError: a score is NaN or infinite, or a batch whose relevant and seen candidates are not distinct.
        """
        masked, kept = rank_both(scores, batch.relevant, batch.seen, batch.grade)
        assert masked is not None, "seen candidates were given"
        self.seen_masked.update(masked)
        self.seen_kept.update(kept)
        if self.auroc is not None:
            liked = _scores_of(scores, batch.relevant)
            others = liked[:0] if batch.shown is None else _scores_of(scores, batch.shown)
            target = torch.cat([torch.ones_like(liked), torch.zeros_like(others)])
            self.auroc.update(torch.cat([liked, others]), target)
        return masked, kept

    def compute(self) -> dict[str, float]:
        """Every metric over all queries so far, of all ranks: a collective that every rank must call.

        A metric for which no query counted is NaN.
        """
        self._take_part()
        values = {**self.seen_masked.compute(), **self.seen_kept.compute()}
        if self.auroc is not None:
            values["auroc"] = self.auroc.compute()
        return {name: float(value) for name, value in values.items()}

    def reset(self) -> None:
        """Forgets all queries."""
        self.seen_masked.reset()
        self.seen_kept.reset()
        if self.auroc is not None:
            self.auroc.reset()

    def _take_part(self) -> None:
        """Makes the states of a rank that had no query those of no query, in the types that the others gather."""
        if self.seen_kept["mrr"].update_called:
            return
        none = torch.zeros(0, dtype=torch.int64, device=self.seen_kept["mrr"].device)
        nobody = Ragged(none, none.new_zeros(1))
        shown = None if self.auroc is None else nobody
        self.update(none.new_zeros(0, 1).float(), EvaluationBatch({}, none, nobody, nobody, shown))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Evaluation:
        """Moves, but never casts: sums in half precision would stop growing after some hundred queries.

        torchmetrics guards ``half()`` and ``bfloat16()``, but not ``to(torch.bfloat16)``, which Lightning's
        ``precision: bf16-true`` calls.
        """
        return super()._apply(  # type: ignore[no-untyped-call, no-any-return]  # torch annotates no part of it
            lambda tensor: tensor.to(fn(tensor.new_empty(0)).device), recurse
        )


class DetailedEvaluation(Evaluation):
    """An evaluation that also tells who is served well, what is recommended, and how each query fared.

    Beside the means of :class:`Evaluation`, :meth:`compute` names those of the slices (``head/recall@10``; see
    :class:`~dssm_lightning.evaluation.metrics.MetricSlices`) and ``coverage@k``, ``popularity@k`` and ``gini@k`` of
    the lists (:class:`~dssm_lightning.evaluation.metrics.Recommended`), all of them with seen candidates masked.

    Args:
        ks: cuts, as :func:`resolve_ks` returns them.
        labelled: whether the data tells shown-and-not-liked from never shown.
        popularity: (N,) training positives of each candidate that is ranked.
        groups: further slices, by name (N,) which candidates count.
        query_groups: further slices, by name, for every row of the queries' table, whether it counts.
    """

    def __init__(
        self,
        ks: list[int],
        labelled: bool,
        popularity: Tensor,
        groups: dict[str, Tensor] | None = None,
        query_groups: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__(ks, labelled)
        self.slices = MetricSlices(ks, popularity, groups, query_groups)
        self.recommended = Recommended(ks, popularity)
        self._keeper = RowKeeper([name for name, _ in [*self._by_row(), *self.slices.metrics]])

    @classmethod
    def of(cls, ranking: Ranking, ks: list[int] | None, labelled: bool) -> DetailedEvaluation:
        """What measures this ranking; ``ks`` as :func:`resolve_ks` takes them."""
        ks = resolve_ks(ks, ranking.size)
        return cls(ks, labelled, ranking.popularity, ranking.groups, ranking.query_groups)

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Adds a batch of queries, as :meth:`Evaluation.update`."""
        masked, kept = super().update(scores, batch)
        values = [metric.by_row(kept if name.startswith(SEEN_KEPT) else masked) for name, metric in self._by_row()]
        sliced = self.slices.update(masked, batch.relevant, batch.liked, batch.query_row)
        self.recommended.update(scores, batch.seen)
        self._keeper.add(batch.query_row, batch.row, torch.cat([torch.stack(values, dim=1), sliced], dim=1))
        return masked, kept

    def compute(self) -> dict[str, float]:
        """Every metric, as :meth:`Evaluation.compute`; a slice without a query has none."""
        values = super().compute()
        details = {**self.slices.compute(), **self.recommended.compute()}
        return values | {name: float(value) for name, value in details.items()}

    def by_row(self) -> RowValues:
        """The value of each metric for each query or event of all ranks: a collective that every rank must call."""
        self._take_part()
        return self._keeper.gather()

    def reset(self) -> None:
        """Forgets all queries."""
        super().reset()
        self.slices.reset()
        self.recommended.reset()
        self._keeper.clear()

    def _by_row(self) -> list[tuple[str, RankMetric]]:
        both = [*self.seen_masked.items(), *self.seen_kept.items()]
        return [(name, cast(RankMetric, metric)) for name, metric in both]


def resolve_ks(ks: list[int] | None, num_candidates: int) -> list[int]:
    """The cuts to report, ascending: the ones asked for, or the defaults 1, 5, 10, 50, 100 that the corpus has.

    Raises:
        ValueError: a cut that was asked for is not positive, or larger than the corpus.
    """
    if ks is None:
        return [k for k in DEFAULT_KS if k <= num_candidates]
    for k in ks:
        if k < 1:
            raise UserError(f"ks: {k} is not a cut of a ranking; each k must be at least 1 (got {ks})")
        if k > num_candidates:
            raise UserError(
                f"ks: k = {k} is larger than the corpus, which has {num_candidates:,} candidates (got {ks}); "
                "leave it out, or leave out `ks` for those of 1, 5, 10, 50, 100 that fit"
            )
    return sorted(set(ks))


def _collection(ks: list[int], prefix: str) -> MetricCollection:
    metrics = {f"{name}@{k}": metric(k) for name, metric in _CUT.items() for k in ks}
    # No compute groups: torchmetrics would merge two metrics for good once their first batch gives them equal states.
    return MetricCollection(
        {**metrics, "mrr": MRR(), "query_auroc": QueryAUROC()}, prefix=prefix or None, compute_groups=False
    )


def _scores_of(scores: Tensor, table: Ragged) -> Tensor:
    return scores[table.rows, table.values.long()]
