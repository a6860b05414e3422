"""The baseline that searches the texts of candidates by terms."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.retrieval.term_index import TermIndex


class TermBaseline(Baseline):
    """Rank candidates by a search for the terms of the query's text.

    Args:
        index: the search, such as :class:`~dssm_lightning.retrieval.term_search.BM25`.

    Example:
        >>> from dssm_lightning.retrieval.term_search import BM25
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> nothing = Ragged.from_lengths(torch.tensor([], dtype=torch.int64), torch.tensor([0]))
        >>> texts = {"query_texts": ["copying"], "corpus_texts": ["list files", "copying a file"]}
        >>> baseline = TermBaseline(BM25())
        >>> baseline.fit(BaselineData(positives=nothing, num_candidates=2, **texts))
        >>> scores = baseline.scores(EvaluationBatch({}, torch.tensor([0]), nothing, nothing, shown=None))
        >>> str(baseline), scores.argmax().item()
        ('BM25(k1=1.2, b=0.75)', 1)
    """

    def __init__(self, index: TermIndex) -> None:
        self.index = index

    def __str__(self) -> str:
        """Return the name of the index with its settings."""
        return str(self.index)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that a side has no text, or None if both have one."""
        texts = {"queries": data.query_texts, "candidates": data.corpus_texts}
        missing = [side for side, found in texts.items() if found is None]
        return f"{' and '.join(missing)} have no text" if missing else None

    def fit(self, data: BaselineData) -> None:
        """Fit the index on the corpus."""
        assert data.query_texts is not None
        assert data.corpus_texts is not None
        self.index.fit(data.corpus_texts)
        self._queries = data.query_texts

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return the scores (Q, N) of the index."""
        texts = [self._queries[row] for row in batch.query_row.tolist()]
        return torch.from_numpy(self.index.scores(texts))
