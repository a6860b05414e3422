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


def cut_corpora(
    model: TwoTowerModel, widths: Sequence[int], corpus: Tensor, embed: Callable[[], Tensor]
) -> dict[int, Tensor]:
    """Return, by width, the embeddings that the cut model gives the candidates.

    Args:
        model: whose embeddings are cut.
        widths: without the whole one.
        corpus: (N, D) whole embeddings.
        embed: embeds the same candidates. Rounded embeddings cannot be cut: those of a cut model are rounded after the
            cut, so that they are computed anew.
    """
    if model.candidate_tower.vectors is None:
        layout = model.layouts().candidate
        return {width: layout.cut(corpus, width) for width in widths}
    corpora = {}
    try:
        for width in widths:
            model.truncate_dim = width
            corpora[width] = embed()
    finally:
        model.truncate_dim = None
    return corpora


class MeasuredWidths:
    """An evaluation at each of several widths, of one corpus.

    Args:
        corpora: by width, ascending, without the whole one: the cut embeddings of the ranked candidates.
        layouts: how queries' embeddings are cut.
        scorer: cut embeddings -> logits.
        make: makes the evaluation of a width.
    """

    def __init__(
        self, corpora: dict[int, Tensor], layouts: Layouts, scorer: Scorer, make: Callable[[], Evaluation]
    ) -> None:
        self._corpora, self._layouts, self._scorer = corpora, layouts, scorer
        self._evaluations = {width: make().to(corpus.device) for width, corpus in corpora.items()}

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
