"""Baselines over the very evaluation that a trained model goes through."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from rich.progress import track

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import FOLDS, TRAIN, group
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.evaluation.baselines import BaselineData, default_baselines
from dssm_lightning.evaluation.evaluator import DetailedEvaluation
from dssm_lightning.evaluation.result_files import per_query, per_query_of, write_parquet
from dssm_lightning.features import Categorical, CategoricalList
from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


def measure_baselines(
    data: RetrievalDataModule,
    corpus_columns: list[str] | None = None,
    fold: str = "test",
    folder: Path | None = None,
) -> dict[str, dict[str, float]]:
    """The metrics of every baseline that these data allow, by its name with its settings.

    Args:
        data: what to fit on and what to rank.
        corpus_columns: candidate columns whose text is searched; None = what the candidates' text features read, the
            training queries of ``LikedBy`` too.
        fold: "test" or "validation".
        folder: where ``per_query.<baseline>.parquet`` is written for each; None = nowhere.

    Raises:
        ValueError: an unknown column; a fold without rows.
    """
    batches = data.evaluation_batches(FOLDS.index(fold))
    if len(batches) == 0:
        raise UserError(f"the split keeps no {fold} rows to rank")
    attributes = _attributes(data)
    known = BaselineData(
        positives=data.assembler.likes.candidates,
        num_candidates=data.num_candidates,
        shown=_shown(data),
        evaluated=data.data.interactions.query[data.data.interactions.rows(FOLDS.index(fold))],
        query_texts=_texts(data.data.queries, data.schemas.query.text_columns),
        corpus_texts=_texts(data.candidates, corpus_columns) if corpus_columns else corpus_texts(data.data),
        attributes=attributes,
    )
    ranking = data.ranking(FOLDS.index(fold))
    evaluation = DetailedEvaluation.of(ranking, None, data.labelled)
    results = {}
    for baseline in track(default_baselines(attributes), description="baselines", transient=True):
        if baseline.obstacle(known) is None:
            baseline.fit(known)
            results[str(baseline)] = baseline.evaluate(batches, evaluation, ranking.rows)
            if folder is not None:
                write_parquet(folder / per_query_of(str(baseline)), per_query(evaluation.by_row(), data.data))
    return results


def _shown(data: RetrievalDataModule) -> Ragged | None:
    """By query, what training shows and nobody likes."""
    interactions = data.data.interactions
    if interactions.label is None:
        return None
    rows = interactions.rows(TRAIN, label=0)
    return group(interactions.query[rows], interactions.candidate[rows], len(data.data.queries))


def _attributes(data: RetrievalDataModule) -> dict[str, Ragged]:
    """The candidates' categories but for their own id, which says nothing of another candidate."""
    key, found = data.candidates.columns[0], {}
    for feature in data.schemas.candidate:
        if isinstance(feature, Categorical | CategoricalList) and feature.source_column != key:
            column = data.data.candidate[feature.name]
            each = torch.arange(data.num_candidates + 1)
            found[feature.name] = column if isinstance(column, Ragged) else Ragged(torch.as_tensor(column), each)
    return found


def _texts(table: pl.DataFrame, columns: list[str]) -> list[str] | None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"corpus_columns {missing}: no such columns; candidates has {', '.join(table.columns)}")
    return join_text_columns(table, columns) if columns else None
