"""The test of a model fused with BM25."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import FOLDS
from dssm_lightning.evaluation.evaluator import DetailedEvaluation
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.retrieval.hybrid import Hybrid


class HybridTest(Callback):
    """Measures the model fused with BM25 (:class:`~dssm_lightning.retrieval.hybrid.Hybrid`) on the same queries.

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
