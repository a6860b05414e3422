"""The blend of a model with BM25 that ranks validation rows best, and its file in the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.evaluation.metrics import NDCG, rank_both
from dssm_lightning.evaluation.result_files import write_json
from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.blend import HYBRID, Blend, Form
from dssm_lightning.retrieval.hybrid import Hybrid

MOST = 500
"""Validation queries or events that are ranked; more would hardly change the choice."""
CONVEX: tuple[Form, ...] = ("range", "deviation", "max")
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RANK_WEIGHTS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class BlendChoice:
    """The best blend, and what it was compared with."""

    blend: Blend
    metric: str
    """Name of the metric that the choice maximises."""
    value: float
    """Of the blend."""
    model: float
    """Of the model alone."""
    bm25: float
    """Of BM25 alone."""
    queries: int
    """Number of ranked validation rows."""


def choose_blend(model: TwoTowerModel, data: RetrievalData, most: int = MOST) -> BlendChoice | None:
    """Return the blend of a trained model with BM25 that ranks validation rows best.

    The forms and weights are those of this module. A convex form of weight 0 is the model alone, one of weight 1 is
    BM25 alone. The model alone is chosen unless the best blend is ahead of it by more than the standard error of the
    mean difference.

    Args:
        model: trained, in evaluation mode.
        data: encoded with the model's schemas.
        most: number of rows that are ranked at most.

    Returns:
        the choice; None if a side has no text in its table, if there are no validation rows, or if each query ranks its
        own list.
    """
    texts, columns = corpus_texts(data.data), data.schemas.query.text_columns
    if texts is None or not columns or data.evaluate == "listed":
        return None
    if not set(columns) <= set(data.data.queries.columns) or not len(data.evaluation_batches(VALIDATION)):
        return None
    ranking = data.ranking(VALIDATION)
    metric = NDCG(min(10, ranking.size))
    values: dict[Blend, list[torch.Tensor]] = {}
    for scores, words, batch in _scored(model, data, Hybrid(texts, columns), most):
        for blend, blended in _blended(scores, words):
            masked, _ = rank_both(torch.from_numpy(blended), batch.relevant, batch.seen, batch.grade)
            assert masked is not None, "seen candidates were given"
            values.setdefault(blend, []).append(metric.by_row(masked))
    found = {blend: torch.cat(parts) for blend, parts in values.items()}
    means = {blend: float(each.nanmean()) for blend, each in found.items()}
    alone, bm25 = Blend(CONVEX[0], 0.0), Blend(CONVEX[0], 1.0)
    best = max(means, key=lambda blend: means[blend])  # the first of equal ones
    if not _is_ahead(found[best] - found[alone]):
        best = alone
    return BlendChoice(best, f"ndcg@{metric.k}", means[best], means[alone], means[bm25], len(found[best]))


def _is_ahead(differences: torch.Tensor) -> bool:
    """Return whether the mean of differences (Q,) is above its standard error: few rows prefer a blend by chance."""
    counted = differences[~differences.isnan()]
    return len(counted) > 1 and bool(counted.mean() > counted.std() / len(counted) ** 0.5)


def write_choice(run: Path, choice: BlendChoice) -> None:
    """Write a choice into the run folder, as ``hybrid.json``."""
    values = asdict(choice)
    write_json(run / HYBRID, {**values.pop("blend"), **values})


def _scored(
    model: TwoTowerModel, data: RetrievalData, hybrid: Hybrid, most: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any], EvaluationBatch]]:
    """Yield the scores (Q, N) of the model and of BM25 for batches of validation rows."""
    rows, count = data.ranking(VALIDATION).rows, 0
    ranked = None if rows is None else rows.numpy()
    batches = data.corpus_batches(VALIDATION)
    with torch.inference_mode():
        corpus = model.embed_corpus(batches, len(batches.numbers))
        for batch in data.evaluation_batches(VALIDATION):
            table = data.data.queries[batch.query_row.cpu().numpy()]
            words = hybrid.words_of(join_text_columns(table, hybrid.query_columns), ranked)
            yield model.score(batch.query, corpus).float().cpu().numpy(), words, batch
            count += len(words)
            if count >= most:
                return


def _blended(scores: NDArray[Any], words: NDArray[Any]) -> Iterable[tuple[Blend, NDArray[np.float64]]]:
    """Yield every blend and its scores (Q, N)."""
    for form in CONVEX:
        model, bm25 = (Blend(form, 0.0).comparable(each) for each in (scores, words))
        for weight in WEIGHTS:
            blend = Blend(form, weight)
            yield blend, blend.mixed(model, bm25)
    for weight in RANK_WEIGHTS:
        blend = Blend("ranks", weight)
        yield blend, blend.combine(scores, words)
