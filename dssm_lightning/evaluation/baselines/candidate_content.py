"""Baselines that know what candidates are, so that they can say something of one that nobody has liked yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.collaborative import ItemToItem
from dssm_lightning.retrieval.term_search import TfIdf


@dataclass(eq=False)
class AttributePopularity(Baseline):
    """How much candidates of the same genre are liked: the same ranking for everybody, of new candidates too.

    A genre's popularity is the mean number of training positives of the candidates that have it and any training
    positive at all; a candidate's score is the mean over its genres, and 0 without any.
    """

    attribute: str
    """Name of the candidate feature: a list of categories (genres), or one category."""

    def obstacle(self, data: BaselineData) -> str | None:
        """There is no such attribute."""
        return None if self.attribute in data.attributes else f"candidates have no attribute {self.attribute!r}"

    def fit(self, data: BaselineData) -> None:
        """Counts."""
        values = data.attributes[self.attribute]
        liked = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).double()  # (N,)
        size = int(values.values.max()) + 1 if len(values.values) else 1
        each = values.values.long()
        likes = torch.zeros(size, dtype=torch.float64).index_add_(0, each, liked[values.rows])
        carriers = torch.zeros(size, dtype=torch.float64).index_add_(0, each, (liked > 0).double()[values.rows])
        popularity = likes / carriers.clamp(min=1)
        total = torch.zeros(data.num_candidates, dtype=torch.float64).index_add_(0, values.rows, popularity[each])
        self._scores = (total / values.lengths.clamp(min=1)).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N), one row seen Q times."""
        return self._scores.expand(len(batch.query_row), -1)


@dataclass(eq=False)
class ContentTfIdf(ItemToItem):
    """How alike a candidate's text is to the texts of what the query liked: the sum of the cosines of :class:`TfIdf`.

    It ranks as the cosine with the sum of the liked texts' vectors, a profile of the query, does.
    """

    def obstacle(self, data: BaselineData) -> str | None:
        """Candidates without text, a corpus too large for N² numbers, or queries without history."""
        return "no text is known of the candidates" if data.corpus_texts is None else super().obstacle(data)

    def fit(self, data: BaselineData) -> None:
        """Compares each text with each other one."""
        assert data.corpus_texts is not None
        index = TfIdf()
        index.fit(data.corpus_texts)
        self._positives, self._weights = data.positives, index.search(data.corpus_texts).contiguous()
