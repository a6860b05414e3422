"""Baselines that search the texts of candidates by terms."""

from __future__ import annotations

from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.retrieval.term_search import TermIndex


class TermBaseline(Baseline):
    """Rank candidates by a search for the terms of the query's text.

    Args:
        index: what searches, such as :class:`~dssm_lightning.retrieval.term_search.BM25`.

    Example:
        >>> import torch
        >>> from dssm_lightning.retrieval.term_search import BM25
        >>> str(TermBaseline(BM25()))
        'BM25(k1=1.2, b=0.75)'
    """

    def __init__(self, index: TermIndex) -> None:
        self.index = index

    def __str__(self) -> str:
        """Return the name of the index with its settings."""
        return str(self.index)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that a side has no text; None if both have."""
        texts = {"queries": data.query_texts, "candidates": data.corpus_texts}
        missing = [side for side, found in texts.items() if found is None]
        return f"no text is known of the {' and '.join(missing)}" if missing else None

    def fit(self, data: BaselineData) -> None:
        """Fit the index on the corpus, and weigh the texts of all queries."""
        assert data.query_texts is not None
        assert data.corpus_texts is not None
        self.index.fit(data.corpus_texts)
        self._queries = self.index.weigh(data.query_texts)

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N)."""
        return self.index.scores(self._queries, batch.query_row.cpu())
