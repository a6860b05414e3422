"""Baselines over the very evaluation that a trained model goes through."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import polars as pl
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.progress import track

from dssm_lightning.baselines import BaselineData, default_baselines
from dssm_lightning.baselines.texts import corpus_texts, joined
from dssm_lightning.batch import EvaluationBatch, Ragged
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import FOLDS, TRAIN, group
from dssm_lightning.evaluation import DetailedEvaluation
from dssm_lightning.features import Categorical, CategoricalList
from dssm_lightning.hybrid import Hybrid
from dssm_lightning.metrics import RowValues
from dssm_lightning.results import per_query, per_query_of, write_parquet


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
        raise ValueError(f"the split keeps no {fold} rows to rank")
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
        raise ValueError(f"corpus_columns {missing}: no such columns; candidates has {', '.join(table.columns)}")
    return joined(table, columns) if columns else None


class HybridTest(Callback):
    """Measures the model fused with the words' ranking (:class:`~dssm_lightning.hybrid.Hybrid`) on the same queries.

    Args:
        weight: of the words' list.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the corpus' words.

        Raises:
            ValueError: a side without a text.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        self._queries = data.data.queries
        self._hybrid = Hybrid(data.data, self.weight)
        ranking = data.ranking(FOLDS.index("test"))
        self._ranked = ranking.rows
        evaluation = DetailedEvaluation.of(ranking, cast("list[int] | None", pl_module.ks), data.labelled)
        self._evaluation = evaluation.to(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Fuse the scores (Q, N) and rank again."""
        queries = self._queries[batch.query_row.cpu().numpy()]
        self._evaluation.update(self._hybrid.fuse(outputs, queries, self._ranked), batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The metrics of all queries, of all ranks."""
        self.metrics: dict[str, float] = self._evaluation.compute()
        self.rows: RowValues = self._evaluation.by_row()

    @property
    def named(self) -> dict[str, float]:
        """The metrics under the names of ``metrics.json``."""
        return {f"test/hybrid/{name}": value for name, value in self.metrics.items()}
