"""Baselines, measured by the evaluation that a trained model goes through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl
import torch

from dssm_lightning.data.interactions import FOLDS, TRAIN, group
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.evaluation.baselines import Baseline, BaselineData, choose_baselines
from dssm_lightning.evaluation.baselines.base import Pictures, TimedPositives
from dssm_lightning.evaluation.evaluator import DetailedEvaluation
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.features import Categorical, CategoricalList, Image
from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.ragged import Ragged


class BaselineResult(NamedTuple):
    """The metrics of one baseline."""

    name: str  # with its settings
    metrics: dict[str, float]
    rows: RowValues  # the metrics of each query or event


def measure_baselines(
    data: RetrievalData,
    corpus_columns: list[str] | None = None,
    fold: str = "test",
    *,
    only: Sequence[str] = (),
    l2: Sequence[float] = (),
    days: Sequence[float] = (),
) -> Iterator[BaselineResult]:
    """Fit baselines on the training rows, and rank a fold by them: one result after the other.

    Args:
        data: the rows to fit on and to rank.
        corpus_columns: candidate columns whose text is searched; None = the columns of the candidates' text features,
            and the training queries of ``LikedBy``.
        fold: "test" or "validation".
        only: names of the baselines that are wanted; nothing = every baseline that the data allow.
        l2: penalties of EASE; nothing = the usual ones.
        days: windows of the recent popularity; nothing = the usual ones.

    Raises:
        UserError: an unknown column; a fold without rows; as for
            :func:`~dssm_lightning.evaluation.baselines.choose_baselines`.
    """
    number = FOLDS.index(fold)
    if len(data.evaluation_batches(number)) == 0:
        raise UserError(f"the split keeps no {fold} rows to rank")
    known = baseline_data(data, corpus_columns, number)
    baselines = choose_baselines(known, only, l2, days)
    yield from rank_by(track(baselines, "baselines", len(baselines)), known, data, number)


def rank_by(
    baselines: Iterable[Baseline], known: BaselineData, data: RetrievalData, fold: int, ks: list[int] | None = None
) -> Iterator[BaselineResult]:
    """Fit each baseline, and rank a fold by it.

    Args:
        baselines: those that ``known`` allows.
        known: what they are fitted on.
        data: the rows that are ranked.
        fold: VALIDATION or TEST.
        ks: cut-offs of the metrics; None = the usual ones.
    """
    ranking = data.ranking(fold)
    evaluation = DetailedEvaluation.of(ranking, ks, data.labelled)
    for baseline in baselines:
        baseline.fit(known)
        metrics = baseline.evaluate(data.evaluation_batches(fold), evaluation, ranking.rows)
        yield BaselineResult(str(baseline), metrics, evaluation.by_row())


def baseline_data(data: RetrievalData, corpus_columns: list[str] | None, fold: int) -> BaselineData:
    """Collect what a baseline may know of the data: the training rows, and the texts and categories of both sides."""
    prepared = data.data
    return BaselineData(
        positives=data.assembler.likes.candidates,
        num_candidates=data.num_candidates,
        shown=_shown(data),
        evaluated=prepared.interactions.query[prepared.interactions.rows(fold)],
        query_texts=_query_texts(data),
        corpus_texts=_texts(data.candidates, corpus_columns) if corpus_columns else corpus_texts(prepared),
        attributes=_attributes(data),
        pictures=_pictures(data),
        timed=_timed(data),
    )


def _timed(data: RetrievalData) -> TimedPositives | None:
    """Return the training positives by time."""
    interactions = data.data.interactions
    if interactions.time is None:
        return None
    rows = interactions.rows(TRAIN, label=1)
    time, order = interactions.time[rows].sort(stable=True)
    return TimedPositives(interactions.candidate[rows[order]], time, interactions.time)


def _shown(data: RetrievalData) -> Ragged | None:
    """Return for each query the candidates that training shows and the query does not like."""
    interactions = data.data.interactions
    if interactions.label is None:
        return None
    rows = interactions.rows(TRAIN, label=0)
    return group(interactions.query[rows], interactions.candidate[rows], len(data.data.queries))


def _attributes(data: RetrievalData) -> dict[str, Ragged]:
    """Return the candidates' categories, without their own id, which says nothing of another candidate."""
    key, found = data.candidates.columns[0], {}
    for feature in data.schemas.candidate:
        if isinstance(feature, Categorical | CategoricalList) and feature.source_column != key:
            column = data.data.candidate[feature.name]
            each = torch.arange(data.num_candidates + 1)
            found[feature.name] = column if isinstance(column, Ragged) else Ragged(torch.as_tensor(column), each)
    return found


def _pictures(data: RetrievalData) -> Pictures | None:
    """Return the pictures of the corpus and of the queries, if both have one size and mode."""
    of_queries = [feature for feature in data.schemas.query if isinstance(feature, Image)]
    for feature in data.schemas.candidate:
        for query in of_queries:
            if isinstance(feature, Image) and (query.size, query.mode) == (feature.size, feature.mode):
                by_event = query.name in data.data.event
                queries = (data.data.event if by_event else data.data.query)[query.name]
                corpus = data.data.candidate[feature.name]
                return Pictures(torch.as_tensor(queries), torch.as_tensor(corpus), by_event)
    return None


def _query_texts(data: RetrievalData) -> list[str] | None:
    """Return the texts of the queries; None without any, or where they vary by event."""
    columns, queries = data.schemas.query.text_columns, data.data.queries
    return join_text_columns(queries, columns) if columns and set(columns) <= set(queries.columns) else None


def _texts(table: pl.DataFrame, columns: list[str]) -> list[str] | None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"corpus_columns {missing}: no such columns; candidates has {', '.join(table.columns)}")
    return join_text_columns(table, columns) if columns else None
