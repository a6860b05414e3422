"""The metrics of embeddings that are cut to fewer numbers, beside those of whole embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.metric_names import width_prefix
from dssm_lightning.models.embedding_layout import Layouts, check_width
from dssm_lightning.models.list_scores import score_lists
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.two_tower import TwoTowerModel


def chosen_widths(model: TwoTowerModel, dims: Sequence[int], truncate_dim: int | Sequence[int] | None) -> list[int]:
    """Return the widths to measure beside the whole one, ascending.

    Args:
        model: whose embeddings are cut.
        dims: widths that the loss trains.
        truncate_dim: the setting: further widths.

    Raises:
        UserError: a width of the setting that the embeddings cannot be cut to.
    """
    asked = truncate_dim if isinstance(truncate_dim, Sequence) else [] if truncate_dim is None else [truncate_dim]
    for width in asked:
        check_width(width, model.towers, model.scorer, "model", "truncate_dim")
    return sorted({*dims, *asked} - {model.direction_widths()[0]})


class MeasuredWidths:
    """An evaluation at each of several widths, of one corpus.

    Args:
        widths: ascending, without the whole one.
        layouts: how embeddings are cut.
        scorer: cut embeddings -> logits.
        corpus: (N, D) whole embeddings of the ranked candidates.
        make: makes the evaluation of a width.
    """

    def __init__(
        self, widths: Sequence[int], layouts: Layouts, scorer: Scorer, corpus: Tensor, make: Callable[[], Evaluation]
    ) -> None:
        self._layouts, self._scorer = layouts, scorer
        self._corpora = {width: layouts.candidate.cut(corpus, width) for width in widths}
        self._evaluations = {width: make().to(corpus.device) for width in widths}

    def update(self, query: Tensor, batch: EvaluationBatch) -> None:
        """Rank a batch of queries at each width.

        Args:
            query: (Q or more, D) whole embeddings; rows beyond those of the batch are padding.
            batch: the queries.
        """
        for width, evaluation in self._evaluations.items():
            cut, corpus = self._layouts.query.cut(query, width), self._corpora[width]
            if batch.listed is None:
                scores = self._scorer(cut, corpus)
            else:
                scores = score_lists(self._scorer, cut, corpus, batch.listed)
            evaluation.update(scores[: len(batch.query_row)], batch)

    def compute(self) -> dict[str, float]:
        """Return ``width_32/ndcg@10`` and the like, with seen candidates masked. A collective, as of an evaluation."""
        return {
            width_prefix(width) + name: value
            for width, evaluation in self._evaluations.items()
            for name, value in evaluation.compute().items()
            if "/" not in name
        }
