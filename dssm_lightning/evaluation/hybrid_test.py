"""The test of a model fused with BM25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import FOLDS
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.evaluation.evaluator import DetailedEvaluation
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.retrieval.blend import Blend
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


class HybridTest(Callback):
    """Measure the model blended with BM25 (:class:`~dssm_lightning.retrieval.hybrid.Hybrid`) on the same test queries.

    Args:
        ks: cut-offs of the metrics, as the model's.
        weight: the rule; a number is the weight of BM25's list in a reciprocal rank fusion.

    Example:
        >>> HybridTest(ks=[1, 10], weight=0.5).weight
        0.5
    """

    def __init__(self, ks: list[int] | None = None, weight: float | Blend = 1.0) -> None:
        self.ks, self.weight = ks, weight
        self.metrics: dict[str, float] = {}
        """The metrics of all queries, after a test."""
        self.rows: RowValues | None = None
        """The metrics of each query or event, after a test."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Index the corpus.

        Raises:
            UserError: a side without a text; a text column of queries that is not in their table.
        """
        data = datamodule_of(trainer)
        self._hybrid = Hybrid(corpus_texts(data.data), data.schemas.query.text_columns, self.weight)
        self._queries = data.data.queries
        for name in self._hybrid.query_columns:
            if name not in self._queries.columns:
                raise UserError(
                    f"hybrid: text column {name!r} belongs to interactions; BM25 reads only columns of queries, "
                    f"which are {self._queries.columns}"
                )
        ranking = data.ranking(FOLDS.index("test"))
        self._ranked = None if ranking.rows is None else ranking.rows.numpy()
        self._evaluation = DetailedEvaluation.of(ranking, self.ks, data.labelled).to(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Fuse the scores (Q, N), or (Q, L) of the queries' own lists, and rank again."""
        texts = join_text_columns(self._queries[batch.query_row.cpu().numpy()], self._hybrid.query_columns)
        scores = outputs.to(torch.promote_types(outputs.dtype, torch.float32)).cpu().numpy()  # NumPy has no bfloat16
        if batch.listed is None:
            fused = torch.from_numpy(self._hybrid.fuse(scores, texts, self._ranked))
        else:
            fused = self._fuse_lists(scores, texts, batch.listed)
        self._evaluation.update(fused.to(outputs.device), batch)

    def _fuse_lists(self, scores: NDArray[Any], texts: Sequence[str | None], listed: Ragged) -> Tensor:
        """(Q, L) -> (Q, L): fuse the rankings of each list, in which the other candidates have no rank."""
        assert self._ranked is not None, "lists rank the candidates of a fold"
        fused = torch.zeros(scores.shape, dtype=torch.float64)
        for number, rows in enumerate(torch.split(listed.values.cpu(), listed.lengths.tolist())):
            own = scores[number : number + 1, : len(rows)]
            found = self._hybrid.fuse(own, texts[number : number + 1], self._ranked[rows.numpy()])
            fused[number, : len(rows)] = torch.from_numpy(found[0])
        return fused

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the metrics of all queries of all processes."""
        self.metrics = self._evaluation.compute()
        self.rows = self._evaluation.by_row()

    @property
    def named(self) -> dict[str, float]:
        """The metrics under their names in ``metrics.json``."""
        return {f"test/hybrid/{name}": value for name, value in self.metrics.items()}
