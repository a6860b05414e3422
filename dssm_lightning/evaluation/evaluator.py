"""From the scores of queries against the whole corpus to named metrics, with seen candidates masked and kept."""

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
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.ragged import Ragged

DEFAULT_KS = (1, 5, 10, 50, 100)
SEEN_KEPT = "seen_kept/"
_CUT_METRICS: dict[str, type[CutMetric]] = {
    "hit_rate": HitRate,
    "recall": Recall,
    "precision": Precision,
    "ndcg": NDCG,
    "map": MAP,
}


class Evaluation(nn.Module):
    """All metrics of an evaluation, updated batch by batch.

    ``hit_rate@k``, ``recall@k``, ``precision@k``, ``ndcg@k``, ``map@k``, ``mrr`` and ``query_auroc`` mask the training
    positives of each query. The same names after ``seen_kept/`` keep the training positives in the ranking. Data with
    labels add ``auroc`` over the observed pairs (relevant against shown and not liked).

    Both protocols share one comparison with the corpus, and all metrics of a protocol share its ranks. The states are
    torchmetrics states: they move with the module that holds this one, and :meth:`compute` adds them up over processes.

    Args:
        ks: cut-offs, as :func:`resolve_ks` returns them.
        labelled: whether the data distinguish shown and not liked from never shown.

    Example:
        >>> evaluation = Evaluation([1, 2], labelled=False)
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> batch = EvaluationBatch({}, torch.tensor([0]), relevant, seen, shown=None)
        >>> _ = evaluation.update(torch.tensor([[3.0, 1.0, 2.0]]), batch)
        >>> metrics = evaluation.compute()
        >>> metrics["recall@1"], metrics["seen_kept/recall@1"]
        (1.0, 0.0)
    """

    def __init__(self, ks: list[int], labelled: bool) -> None:
        super().__init__()
        self.seen_masked = _collection(ks, prefix="")
        self.seen_kept = _collection(ks, prefix=SEEN_KEPT)
        self.auroc = ObservedAUROC() if labelled else None

    @property
    def names(self) -> list[str]:
        """Names of the metrics that :meth:`compute` returns in every evaluation."""
        return [*self.seen_masked, *self.seen_kept, *([] if self.auroc is None else ["auroc"])]

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Add a batch of queries and return their ranks, with seen candidates masked and with seen candidates kept.

        Args:
            scores: (Q, N) finite scores of the whole corpus, in float32: half precision makes ties.
            batch: the scored queries.

        Raises:
            UserError: a score is NaN or infinite; or relevant and seen candidates are not distinct.
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
        """Return every metric over all queries so far, of all processes.

        A metric for which no query counts is NaN. This is a collective: every process must call it.
        """
        self._ensure_updated()
        values = {**self.seen_masked.compute(), **self.seen_kept.compute()}
        if self.auroc is not None:
            values["auroc"] = self.auroc.compute()
        return {name: float(value) for name, value in values.items()}

    def reset(self) -> None:
        """Remove all queries."""
        self.seen_masked.reset()
        self.seen_kept.reset()
        if self.auroc is not None:
            self.auroc.reset()

    def _ensure_updated(self) -> None:
        """Add an empty batch if the process had no batch: its states then have the types that the others gather."""
        if self.seen_kept["mrr"].update_called:
            return
        empty = torch.zeros(0, dtype=torch.int64, device=self.seen_kept["mrr"].device)
        no_rows = Ragged(empty, empty.new_zeros(1))
        shown = None if self.auroc is None else no_rows
        self.update(empty.new_zeros(0, 1).float(), EvaluationBatch({}, empty, no_rows, no_rows, shown))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Evaluation:
        """Move the states to a device, but keep their types: half-precision sums stop growing at a few hundred queries.

        torchmetrics ignores ``half()`` and ``bfloat16()``, but not ``to(torch.bfloat16)``, which Lightning's
        ``precision: bf16-true`` calls.
        """
        return super()._apply(  # type: ignore[no-untyped-call, no-any-return]  # torch does not annotate `_apply`
            lambda tensor: tensor.to(fn(tensor.new_empty(0)).device), recurse
        )


class DetailedEvaluation(Evaluation):
    """An evaluation with slices, metrics of the recommended lists, and the metrics of each query.

    :meth:`compute` returns three kinds of metrics: the means of :class:`Evaluation`; the same for slices
    (``head/recall@10``, see :class:`~dssm_lightning.evaluation.metrics.MetricSlices`); and ``coverage@k``,
    ``popularity@k`` and ``gini@k`` of the lists (:class:`~dssm_lightning.evaluation.metrics.Recommended`). Slices and
    lists have seen candidates masked.

    Args:
        ks: cut-offs, as :func:`resolve_ks` returns them.
        labelled: whether the data distinguish shown and not liked from never shown.
        popularity: (N,) training positives of each ranked candidate.
        groups: further slices: by name (N,) bool, the candidates of the slice.
        query_groups: further slices: by name (rows of the query table,) bool, the queries of the slice.

    Example:
        >>> evaluation = DetailedEvaluation([1], labelled=False, popularity=torch.tensor([2, 0, 0]))
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> batch = EvaluationBatch({}, torch.tensor([7]), relevant, seen, shown=None)
        >>> _ = evaluation.update(torch.tensor([[3.0, 1.0, 2.0]]), batch)
        >>> metrics = evaluation.compute()
        >>> round(metrics["coverage@1"], 4), metrics["cold_candidates/mrr"], evaluation.by_row().query.tolist()
        (0.3333, 1.0, [7])
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
        self._keeper = RowKeeper([name for name, _ in [*self._rank_metrics(), *self.slices.metrics]])

    @classmethod
    def of(cls, ranking: Ranking, ks: list[int] | None, labelled: bool) -> DetailedEvaluation:
        """Make the evaluation of a ranking; ``ks`` as for :func:`resolve_ks`."""
        ks = resolve_ks(ks, ranking.size)
        return cls(ks, labelled, ranking.popularity, ranking.groups, ranking.query_groups)

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Add a batch of queries and return their ranks, as :meth:`Evaluation.update`."""
        masked, kept = super().update(scores, batch)
        values = [
            metric.by_row(kept if name.startswith(SEEN_KEPT) else masked) for name, metric in self._rank_metrics()
        ]
        sliced = self.slices.update(masked, batch.relevant, batch.liked, batch.query_row)
        self.recommended.update(scores, batch.seen)
        self._keeper.add(batch.query_row, batch.row, torch.cat([torch.stack(values, dim=1), sliced], dim=1))
        return masked, kept

    def compute(self) -> dict[str, float]:
        """Return every metric, as :meth:`Evaluation.compute`, without the slices that have no query."""
        values = super().compute()
        details = {**self.slices.compute(), **self.recommended.compute()}
        return values | {name: float(value) for name, value in details.items()}

    def by_row(self) -> RowValues:
        """Return the metrics of each query or event of all processes. A collective: every process must call it."""
        self._ensure_updated()
        return self._keeper.gather()

    def reset(self) -> None:
        """Remove all queries."""
        super().reset()
        self.slices.reset()
        self.recommended.reset()
        self._keeper.clear()

    def _rank_metrics(self) -> list[tuple[str, RankMetric]]:
        both = [*self.seen_masked.items(), *self.seen_kept.items()]
        return [(name, cast(RankMetric, metric)) for name, metric in both]


def resolve_ks(ks: list[int] | None, num_candidates: int) -> list[int]:
    """Return the cut-offs to report, ascending: ``ks``, or the values of 1, 5, 10, 50, 100 that fit the corpus.

    Raises:
        UserError: a cut-off is below 1 or larger than the corpus.

    Example:
        >>> resolve_ks(None, num_candidates=60), resolve_ks([20, 3], num_candidates=60)
        ([1, 5, 10, 50], [3, 20])
    """
    if ks is None:
        return [k for k in DEFAULT_KS if k <= num_candidates]
    for k in ks:
        require_whole("ks", "k", k, hint=f"ks is {ks}")
        if k > num_candidates:
            raise UserError(
                f"ks: k = {k} is larger than the corpus, which has {num_candidates:,} candidates (ks is {ks}); "
                f"remove {k}, or remove `ks` to use the values of 1, 5, 10, 50, 100 that fit"
            )
    return sorted(set(ks))


def _collection(ks: list[int], prefix: str) -> MetricCollection:
    metrics = {f"{name}@{k}": metric(k) for name, metric in _CUT_METRICS.items() for k in ks}
    # No compute groups: torchmetrics would merge two metrics forever if their first batch gives them equal states.
    return MetricCollection(
        {**metrics, "mrr": MRR(), "query_auroc": QueryAUROC()}, prefix=prefix or None, compute_groups=False
    )


def _scores_of(scores: Tensor, table: Ragged) -> Tensor:
    return scores[table.rows, table.values.long()]
