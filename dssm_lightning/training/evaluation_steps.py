"""How a model is measured and used by a trainer: every query against the whole corpus, which is embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, Evaluation, resolve_ks
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Features, concatenate_into, num_rows, pad_rows_to, to_device

EQUAL_ON_ALL: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
"""How to log what every rank has found alike: the largest is each, to the last bit, as their mean might not be."""


class EvaluationSteps(LightningModule):
    """Validation, test and prediction of a model of two sides.

    :class:`~dssm_lightning.models.two_tower.TwoTowerModel` stands before this class among the bases of the model.
    """

    scorer: Scorer
    encode_query: Callable[[Features], Tensor]
    encode_candidate: Callable[[Features], Tensor]
    ks: list[int] | None
    """Cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = nn.ModuleDict()
        self.row_values: RowValues | None = None
        """How each query or event fared in the last test."""
        self._corpus: Tensor | None = None  # (N, D) while an evaluation lasts

    @property
    def datamodule(self) -> RetrievalDataModule:
        """The trainer's."""
        found = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        assert isinstance(found, RetrievalDataModule)
        return found

    def setup(self, stage: str) -> None:
        """Metrics, for which the size of the corpus must be known.

        Raises:
            ValueError: embeddings are to be written, and are of no use without the scorer.
        """
        if stage == "predict":
            self.scorer.check_indexable("predict")
        data = self.datamodule
        val, test = data.ranking(VALIDATION), data.ranking(TEST)
        detailed = DetailedEvaluation.of(test, self.ks, data.labelled)
        plain = Evaluation(resolve_ks(self.ks, val.size), data.labelled)
        self.evaluations = nn.ModuleDict({"val": plain, "test": detailed})

    # -- the corpus, and queries against it -----------------------------------------------------------------------

    def embed_corpus(self, batches: Iterable[Features], share: int) -> Tensor:
        """(N, D) every candidate's embedding, each rank embedding its share, of so many candidates."""
        parts = (self._measured(self.encode_candidate, part) for part in batches)
        return distributed.gather_rows(concatenate_into(parts, share))

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        """(Q, …), (N, D) -> (Q, N) logits of queries with the embedded corpus."""
        return self._measured(lambda features: self.scorer(self.encode_query(features), corpus), query)

    def _embedded(self, fold: int | None = None) -> Tensor:
        """(N, D) of what a fold ranks; None = of the whole corpus."""
        batches = self.datamodule.corpus_batches(fold)
        return self.embed_corpus(batches, len(batches.numbers))

    def _measured(self, make: Callable[[Features], Tensor], features: Features) -> Tensor:
        """What is made of each row, alike to the last bit wherever the rows are cut, as far as kernels allow."""
        return make(pad_rows_to(to_device(features, self.device), 8, self.device))[: num_rows(features)]

    # -- what Lightning calls -------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Embed what is ranked once for this evaluation."""
        self._corpus = self._embedded(VALIDATION)

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Rank a batch of queries."""
        self._rank("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of all queries."""
        self._log_metrics("val")

    def on_test_epoch_start(self) -> None:
        """Embed what is ranked once for this evaluation."""
        self._corpus = self._embedded(TEST)

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> Tensor:
        """Rank a batch of queries; what else is made of the scores (Q, N) is a callback's."""
        return self._rank("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of all queries."""
        self._log_metrics("test")

    def predict_step(self, batch: Features, batch_idx: int) -> Tensor:
        """(H, B, d) what an index holds of whatever side the data module predicts: its embeddings, by head."""
        encode = self.encode_query if self.datamodule.predict == "query" else self.encode_candidate
        return self.scorer.vectors(self._measured(encode, batch))

    def _rank(self, stage: str, batch: EvaluationBatch) -> Tensor:
        assert self._corpus is not None
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        scores = self.score(batch.query, self._corpus)
        evaluation.update(scores, batch)
        return scores

    def _log_metrics(self, stage: str) -> None:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        metrics = {f"{stage}/{name}": value for name, value in evaluation.compute().items()}
        self.log_dict(metrics, **EQUAL_ON_ALL)
        if isinstance(evaluation, DetailedEvaluation):
            self.row_values = evaluation.by_row()
        evaluation.reset()
        self._corpus = None
