"""Validation, test and prediction by a trainer: every query against the candidates that it ranks, embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.evaluation.embedding_geometry import EmbeddingGeometry
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, Evaluation, list_scores, resolve_ks
from dssm_lightning.evaluation.metric_tables import show_results
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.evaluation.result_files import Intervals, intervals
from dssm_lightning.losses import Loss
from dssm_lightning.models.embedding_layout import Layouts
from dssm_lightning.models.list_scores import score_lists
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.measured_index import MeasuredIndex
from dssm_lightning.training.measured_widths import MeasuredWidths, chosen_widths, cut_corpora
from dssm_lightning.training.trainer_checks import check_precision
from dssm_lightning.utils.ragged import Features

EQUAL_IN_ALL_PROCESSES: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}
"""How to log a value that every process has computed: their maximum is equal to each to the last bit, their mean is
not."""


class EvaluationSteps(LightningModule):
    """Validation, test and prediction of a two-tower model.

    :class:`~dssm_lightning.models.two_tower.TwoTowerModel` stands before this class among the bases of the model.
    """

    scorer: Scorer
    encode_query: Callable[[Features], Tensor]
    encode_candidate: Callable[[Features], Tensor]
    embed_rows: Callable[[Callable[[Features], Tensor], Features], Tensor]
    embed_corpus: Callable[[Iterable[Features], int], Tensor]
    score: Callable[[Features, Tensor], Tensor]
    direction_widths: Callable[[], tuple[int, int]]
    layouts: Callable[[], Layouts]
    loss: Loss
    truncate_dims: int | list[int] | None
    """Widths to measure in ``validate`` and ``test`` beside those that the loss trains, and the whole one."""
    ks: list[int] | None
    """Cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = nn.ModuleDict()
        self.row_values: RowValues | None = None
        """The metrics of each query or event in the last test."""
        self.intervals: Intervals = {}
        """The 95 % intervals of the last test's metrics."""
        self._shows_results = False
        self._monitored: set[str | None] = set()  # metrics that choose checkpoints; a LearningRateFinder hides these
        self._corpus: Tensor | None = None  # (N, D) during an evaluation
        self._geometry: EmbeddingGeometry | None = None  # during a validation
        self._widths: MeasuredWidths | None = None  # during ``validate`` and ``test``
        self._index: MeasuredIndex | None = None  # the same

    @property
    def datamodule(self) -> RetrievalDataModule:
        """The trainer's data module."""
        return datamodule_of(self.trainer)

    def setup(self, stage: str) -> None:
        """Make the metrics, which need the size of the corpus.

        Raises:
            UserError: weights that are not float32; ``predict`` writes embeddings that are of no use without the
                scorer.
        """
        check_precision(self.trainer)
        self._monitored = {getattr(each, "monitor", None) for each in self.trainer.checkpoint_callbacks}
        if stage == "predict":
            self.scorer.check_indexable("predict")
        data = self.datamodule
        val, test = data.ranking(VALIDATION), data.ranking(TEST)
        detailed = DetailedEvaluation.of(test, self.ks, data.labelled)
        plain = Evaluation.of(val, self.ks, data.labelled)
        self.evaluations = nn.ModuleDict({"val": plain, "test": detailed})

    def embed_ranked(self, fold: int | None = None) -> Tensor:
        """(N, D) embeddings of the candidates that a fold ranks; None = of the whole corpus."""
        batches = self.datamodule.corpus_batches(fold)
        return self.embed_corpus(batches, len(batches.numbers))

    # -- what Lightning calls -----------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Embed the ranked candidates once for this evaluation."""
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._take_over(self.trainer.validate_loop)
            self._corpus = self._embed(VALIDATION)
        else:
            self._corpus = self.embed_ranked(VALIDATION)
        self._geometry = EmbeddingGeometry(self._corpus, self.direction_widths())

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Rank a batch of queries."""
        self._rank("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of all queries, and how embeddings lie; ``validate`` shows the metrics as a table."""
        metrics = self._log_metrics("val")
        assert self._geometry is not None
        for name, value in self._geometry.compute().items():
            self.log(f"val/{name}", value, **EQUAL_IN_ALL_PROCESSES)
        self._geometry = None
        if self._shows_results and self.trainer.state.fn == TrainerFn.VALIDATING:
            show_results(metrics, {})

    def on_test_epoch_start(self) -> None:
        """Embed the ranked candidates once for this evaluation."""
        self._take_over(self.trainer.test_loop)
        self._corpus = self._embed(TEST)
        detailed = self._evaluation("test")
        if isinstance(detailed, DetailedEvaluation) and detailed.recommended is not None:
            detailed.recommended.embeddings = self._corpus[:, : self.direction_widths()[1]]

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> Tensor:
        """Rank a batch of queries, and return the scores (Q, N), or (Q, L) of their own lists, for callbacks."""
        return self._rank("test", batch)

    def on_test_epoch_end(self) -> None:
        """Log the metrics of all queries, and show them as a table unless ``verbose`` is false."""
        metrics = self._log_metrics("test")
        if self.row_values is not None and self.trainer.is_global_zero:
            self.intervals = intervals(self.row_values)
        if self._shows_results:
            show_results(metrics, self.intervals)

    def predict_step(self, batch: Features, batch_idx: int) -> Tensor:
        """(H, B, d) what an index holds of the side that the data module predicts: its embeddings, by head."""
        encode = self.encode_query if self.datamodule.predict == "query" else self.encode_candidate
        return self.scorer.vectors(self.embed_rows(encode, batch))

    def _embed(self, fold: int) -> Tensor:
        """Return the embeddings (N, D) of the ranked candidates, and prepare the measuring of cut embeddings."""
        way: Any = type(self).score
        model = cast(TwoTowerModel, self)
        widths = chosen_widths(model, self.loss.dims, self.truncate_dims)
        data, corpus = self.datamodule, self.embed_ranked(fold)
        if widths and way is TwoTowerModel.score:
            make = partial(Evaluation.of, data.ranking(fold), self.ks, data.labelled)
            corpora = cut_corpora(model, widths, corpus, partial(self.embed_ranked, fold))
            self._widths = MeasuredWidths(corpora, self.layouts(), self.scorer, make)
        ranking = data.ranking(fold)
        if model.candidate_tower.vectors == "binary" and way is TwoTowerModel.score and ranking.longest_list is None:
            ks = resolve_ks(self.ks, ranking.size)
            self._index = MeasuredIndex(corpus, self.scorer, ks, lambda own: Evaluation.of(ranking, own, data.labelled))
        return corpus

    def _take_over(self, loop: Any) -> None:
        """Show results as a table, in place of the list of lines that Lightning prints unless ``verbose`` is false."""
        self._shows_results = loop.verbose and self.trainer.is_global_zero
        loop.verbose = False

    def _rank(self, stage: str, batch: EvaluationBatch) -> Tensor:
        assert self._corpus is not None
        way: Any = type(self).score
        if way is TwoTowerModel.score:
            scores = self.embed_rows(partial(self._score_and_measure, batch), batch.query)
        else:  # a model that scores in its own way
            scores = list_scores(self.score(batch.query, self._corpus), batch)
            if self._geometry is not None:
                self._geometry.add(self.embed_rows(self.encode_query, batch.query), batch.relevant)
        self._evaluation(stage).update(scores, batch)
        return scores

    def _score_and_measure(self, batch: EvaluationBatch, query: Features) -> Tensor:
        """(B, …) -> (B, N) or (B, L): score a batch, and add its embeddings to the geometry of a validation."""
        assert self._corpus is not None
        embedding = self.encode_query(query)
        if self._geometry is not None:  # rows beyond those of the batch are padding
            self._geometry.add(embedding[: len(batch.query_row)], batch.relevant)
        if self._widths is not None:
            self._widths.update(embedding, batch)
        if batch.listed is not None:
            return score_lists(self.scorer, embedding, self._corpus, batch.listed)
        scores: Tensor = self.scorer(embedding, self._corpus)
        if self._index is not None:
            self._index.update(embedding, scores, batch)
        return scores

    def _evaluation(self, stage: str) -> Evaluation:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, Evaluation)
        return evaluation

    def _log_metrics(self, stage: str) -> dict[str, float]:
        evaluation = self._evaluation(stage)
        more = {} if self._widths is None else self._widths.compute()
        more |= {} if self._index is None else self._index.compute()
        metrics = {f"{stage}/{name}": value for name, value in {**evaluation.compute(), **more}.items()}
        for name, value in metrics.items():
            self.log(name, value, prog_bar=name in self._monitored, **EQUAL_IN_ALL_PROCESSES)
        if isinstance(evaluation, DetailedEvaluation):
            self.row_values = evaluation.by_row()
        evaluation.reset()
        self._corpus = self._widths = self._index = None
        return metrics
