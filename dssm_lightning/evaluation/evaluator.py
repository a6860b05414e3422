"""From the scores of queries against the whole corpus, or their own lists, to named metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.ranked_candidates import Ranking
from dssm_lightning.evaluation.metric_sets import metric_collection, resolve_ks
from dssm_lightning.evaluation.metrics import (
    ListsWithoutPositive,
    MetricSlices,
    ObservedAUROC,
    RankMetric,
    Ranks,
    RankSlices,
    Recommended,
    RowKeeper,
    RowValues,
    places_in_lists,
    rank_both,
    rank_lists,
)
from dssm_lightning.evaluation.metrics.score_counts import list_scores, scores_of

__all__ = ["SEEN_KEPT", "DetailedEvaluation", "Evaluation", "list_scores", "resolve_ks"]

SEEN_KEPT = "seen_kept/"


class Evaluation(nn.Module):
    """All metrics of an evaluation, updated batch by batch.

    ``hit_rate@k``, ``recall@k``, ``precision@k``, ``ndcg@k``, ``map@k``, ``mrr`` and ``query_auroc`` mask the training
    positives of each query. The same names after ``seen_kept/`` keep the training positives in the ranking. Data with
    labels add ``auroc`` over the observed pairs (relevant against shown and not liked). Each of several objectives is a
    slice: ``buy/ndcg@10`` counts the relevant candidates that are positives of ``buy``.

    Where each query ranks its own list, nothing is masked and there is one protocol, with ``map`` (without a cut-off)
    and ``lists_without_positive``, the number of lists that no metric counts.

    Both protocols share one comparison with the corpus, and all metrics of a protocol share its ranks. The states are
    torchmetrics states: they move with the module that holds this one, and :meth:`compute` adds them up over processes.

    Args:
        ks: cut-offs, as :func:`resolve_ks` returns them.
        labelled: whether the data distinguish shown and not liked from never shown.
        longest_list: candidates of the longest list, if each query ranks its own; None = each ranks the corpus.
        objectives: their names.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> evaluation = Evaluation([1, 2], labelled=False)
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> batch = EvaluationBatch({}, torch.tensor([0]), relevant, seen, shown=None)
        >>> _ = evaluation.update(torch.tensor([[3.0, 1.0, 2.0]]), batch)
        >>> [evaluation.compute()[name] for name in ("recall@1", "seen_kept/recall@1")]
        [1.0, 0.0]
    """

    def __init__(
        self, ks: list[int], labelled: bool, longest_list: int | None = None, objectives: Sequence[str] = ()
    ) -> None:
        super().__init__()
        lists = longest_list is not None
        self.seen_masked = metric_collection(ks, "", longest_list)
        self.seen_kept = None if lists else metric_collection(ks, SEEN_KEPT)
        self.auroc = ObservedAUROC() if labelled else None
        self.lists_without_positive = ListsWithoutPositive() if lists else None
        self._num_objectives = len(objectives)
        self.objectives = RankSlices(ks, objectives) if objectives else None

    @classmethod
    def of(cls, ranking: Ranking, ks: list[int] | None, labelled: bool) -> Evaluation:
        """Make the evaluation of a ranking; ``ks`` as for :func:`resolve_ks`."""
        ks = resolve_ks(ks, ranking.size, ranking.longest_list)
        return cls(ks, labelled, ranking.longest_list, ranking.objectives)

    @property
    def names(self) -> list[str]:
        """Names of the metrics that :meth:`compute` returns in every evaluation."""
        by_objective = [] if self.objectives is None else self.objectives.metrics
        return [*self._collections, *self._single, *(name for name, _ in by_objective)]

    @property
    def _collections(self) -> dict[str, RankMetric]:
        """The means over queries, by name."""
        both = [*self.seen_masked.items(), *([] if self.seen_kept is None else self.seen_kept.items())]
        return {name: cast(RankMetric, metric) for name, metric in both}

    @property
    def _single(self) -> dict[str, Metric]:
        """The other metrics, by name."""
        found = {"auroc": self.auroc, "lists_without_positive": self.lists_without_positive}
        return {name: metric for name, metric in found.items() if metric is not None}

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Add a batch of queries and return their ranks, with seen candidates masked and with seen candidates kept.

        Args:
            scores: (Q, N) finite scores of the whole corpus, in float32: half precision makes ties. If the batch has
                lists, (Q, L) scores of each query's own list, as :func:`list_scores` returns them.
            batch: the scored queries.

        Raises:
            UserError: a score is NaN or infinite; or relevant and seen candidates are not distinct.
        """
        relevant, shown = batch.relevant, batch.shown
        if batch.listed is None:
            masked, kept = rank_both(scores, relevant, batch.seen, batch.grade)
            assert masked is not None, "seen candidates were given"
        else:
            relevant = places_in_lists(batch.listed, relevant)
            shown = None if shown is None else places_in_lists(batch.listed, shown)
            masked = kept = rank_lists(scores, batch.listed, relevant, batch.grade)
        self.seen_masked.update(masked)
        if self.seen_kept is not None:
            self.seen_kept.update(kept)
        if self.lists_without_positive is not None:
            self.lists_without_positive.update(kept)
        if self.objectives is not None and batch.objectives is not None:
            self.objectives.add(masked, batch.objectives.unbind(1))
        if self.auroc is not None:
            liked = scores_of(scores, relevant)
            others = liked[:0] if shown is None else scores_of(scores, shown)
            target = torch.cat([torch.ones_like(liked), torch.zeros_like(others)])
            self.auroc.update(torch.cat([liked, others]), target)
        return masked, kept

    def compute(self) -> dict[str, float]:
        """Return every metric over all queries so far, of all processes.

        A metric for which no query counts is NaN. This is a collective: every process must call it.
        """
        self._ensure_updated()
        kept = {} if self.seen_kept is None else self.seen_kept.compute()
        single = {name: metric.compute() for name, metric in self._single.items()}
        several = {} if self.objectives is None else self.objectives.compute()
        found = {**self.seen_masked.compute(), **kept, **single, **several}
        return {name: float(value) for name, value in found.items()}

    def reset(self) -> None:
        """Remove all queries."""
        for metric in (self.seen_masked, self.seen_kept, self.objectives, *self._single.values()):
            if metric is not None:
                metric.reset()

    def _ensure_updated(self) -> None:
        """Add an empty batch if the process had no batch: its states then have the types that the others gather."""
        if self.seen_masked["mrr"].update_called:
            return
        device = self.seen_masked["mrr"].device
        batch = EvaluationBatch.empty(device, self.auroc is not None, self._num_objectives)
        self.update(torch.zeros(0, 1, device=device), batch)

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
    (``head/recall@10``, see :class:`~dssm_lightning.evaluation.metrics.MetricSlices`); and those of the lists,
    such as ``coverage@k`` (:class:`~dssm_lightning.evaluation.metrics.Recommended`). Slices and lists have seen
    candidates masked.

    Args:
        ks: cut-offs, as :func:`resolve_ks` returns them.
        labelled: whether the data distinguish shown and not liked from never shown.
        popularity: (N,) training positives of each ranked candidate.
        groups: further slices: by name (N,) bool, the candidates of the slice.
        query_groups: further slices: by name (rows of the query table,) bool, the queries of the slice.
        longest_list, objectives: as for :class:`Evaluation`. The lists are given, so that nothing describes them.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
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
        longest_list: int | None = None,
        objectives: Sequence[str] = (),
    ) -> None:
        super().__init__(ks, labelled, longest_list, objectives)
        self.objectives = None  # they are among the slices
        self.slices = MetricSlices(ks, popularity, groups, query_groups, objectives)
        self.recommended = Recommended(ks, popularity) if longest_list is None else None
        self._keeper = RowKeeper([*self._collections, *(name for name, _ in self.slices.metrics)])

    @classmethod
    def of(cls, ranking: Ranking, ks: list[int] | None, labelled: bool) -> DetailedEvaluation:
        """Make the evaluation of a ranking; ``ks`` as for :func:`resolve_ks`."""
        ks, groups = resolve_ks(ks, ranking.size, ranking.longest_list), (ranking.groups, ranking.query_groups)
        return cls(ks, labelled, ranking.popularity, *groups, ranking.longest_list, ranking.objectives)

    def update(self, scores: Tensor, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
        """Add a batch of queries and return their ranks, as :meth:`Evaluation.update`."""
        masked, kept = super().update(scores, batch)
        values = [
            metric.by_row(kept if name.startswith(SEEN_KEPT) else masked) for name, metric in self._collections.items()
        ]
        sliced = self.slices.update(masked, batch.relevant, batch.liked, batch.query_row, batch.objectives)
        if self.recommended is not None:
            self.recommended.update(scores, batch.seen, batch.relevant)
        self._keeper.add(batch.query_row, batch.row, torch.cat([torch.stack(values, dim=1), sliced], dim=1))
        return masked, kept

    def compute(self) -> dict[str, float]:
        """Return every metric, as :meth:`Evaluation.compute`, without the slices that have no query."""
        values = super().compute()
        details = {**self.slices.compute(), **({} if self.recommended is None else self.recommended.compute())}
        return values | {name: float(value) for name, value in details.items()}

    def by_row(self) -> RowValues:
        """Return the metrics of each query or event of all processes. A collective: every process must call it."""
        self._ensure_updated()
        return self._keeper.gather()

    def reset(self) -> None:
        """Remove all queries."""
        super().reset()
        self.slices.reset()
        if self.recommended is not None:
            self.recommended.reset()
        self._keeper.clear()
