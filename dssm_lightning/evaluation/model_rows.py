"""The metrics of each query or event by a model that a fit has trained, without a trainer."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, list_scores
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.models.list_scores import score_lists
from dssm_lightning.models.two_tower import TwoTowerModel


def rank_by_model(
    model: TwoTowerModel, data: RetrievalData, fold: int, ks: list[int] | None = None
) -> tuple[dict[str, float], RowValues]:
    """Rank a fold by a model, as a validation does, and return the metrics and those of each query or event.

    Args:
        model: trained, in evaluation mode.
        data: encoded with the model's schemas.
        fold: VALIDATION or TEST.
        ks: cut-offs of the metrics; None = the usual ones.
    """
    evaluation, batches = DetailedEvaluation.of(data.ranking(fold), ks, data.labelled), data.corpus_batches(fold)
    with torch.inference_mode():
        corpus = model.embed_corpus(batches, len(batches.numbers))
        if evaluation.recommended is not None:
            evaluation.recommended.embeddings = corpus[:, : model.direction_widths()[1]].cpu()
        for batch in data.evaluation_batches(fold):
            scores = _scores(model, batch, corpus)
            evaluation.update(scores.to(torch.promote_types(scores.dtype, torch.float32)).cpu(), batch)
    return evaluation.compute(), evaluation.by_row()


def _scores(model: TwoTowerModel, batch: EvaluationBatch, corpus: Tensor) -> Tensor:
    """Return the scores (Q, N), or (Q, L) of the queries' own lists."""
    listed = batch.listed
    if listed is None or type(model).score is not TwoTowerModel.score:  # the second: it scores in its own way
        return list_scores(model.score(batch.query, corpus), batch)
    on_device = listed._replace(values=listed.values.to(corpus.device), offsets=listed.offsets.to(corpus.device))
    return model.embed_rows(
        lambda features: score_lists(model.scorer, model.encode_query(features), corpus, on_device), batch.query
    )
