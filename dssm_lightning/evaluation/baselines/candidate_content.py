"""Baselines that read candidates' categories or texts, and so can rank candidates that nobody has liked yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.item_knn import NO_HISTORY
from dssm_lightning.retrieval.term_search import TfIdf
from dssm_lightning.utils.ragged import Ragged, take

MAX_CANDIDATES = 20_000
"""Largest corpus with a weight for each pair of texts (1.6 GB)."""


@dataclass(eq=False)
class AttributePopularity(Baseline):
    """Popularity of a candidate's categories, such as genres: the same ranking for every query.

    The popularity of a category is the mean number of training positives over its candidates that have any. The score
    of a candidate is the mean over its categories, or 0 if it has none.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> genres = Ragged.from_lengths(torch.tensor([7, 7, 8, 7]), torch.tensor([1, 1, 2]))
        >>> baseline = AttributePopularity("genres")
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3, attributes={"genres": genres}))
        >>> baseline.scores(EvaluationBatch({}, torch.tensor([0]), positives, positives, shown=None)).tolist()
        [[1.5, 1.5, 0.75]]
    """

    attribute: str
    """Name of the candidate feature: a category, or a list of categories."""

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that candidates do not have the attribute, or None if they do."""
        return None if self.attribute in data.attributes else f"candidates have no attribute {self.attribute!r}"

    def fit(self, data: BaselineData) -> None:
        """Count the likes of each category, and average them over the categories of each candidate."""
        values = data.attributes[self.attribute]
        liked = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).double()  # (N,)
        size = int(values.values.max()) + 1 if len(values.values) else 1
        category = values.values.long()
        likes = torch.zeros(size, dtype=torch.float64).index_add_(0, category, liked[values.rows])
        carriers = torch.zeros(size, dtype=torch.float64).index_add_(0, category, (liked > 0).double()[values.rows])
        popularity = likes / carriers.clamp(min=1)
        total = torch.zeros(data.num_candidates, dtype=torch.float64).index_add_(0, values.rows, popularity[category])
        self._scores = (total / values.lengths.clamp(min=1)).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): one row, expanded without a copy."""
        return self._scores.expand(len(batch.query_row), -1)


@dataclass(eq=False)
class ContentTfIdf(Baseline):
    """Similarity of a candidate's text to the texts that the query liked: the sum of the cosines of :class:`TfIdf`.

    The ranking is the same as by the cosine with the query's profile, the sum of the vectors of the liked texts.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> likes = Ragged.from_lengths(torch.tensor([0]), torch.tensor([1]))
        >>> texts = ["red shoes", "green tea", "blue shoes"]
        >>> baseline = ContentTfIdf()
        >>> baseline.fit(BaselineData(positives=likes, num_candidates=3, corpus_texts=texts))
        >>> scores = baseline.scores(EvaluationBatch({}, torch.tensor([0]), likes, likes, shown=None))
        >>> scores.argsort(descending=True).tolist()
        [[0, 2, 1]]
    """

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that candidates have no text or are too many, or that no query has a history, or None."""
        if data.corpus_texts is None:
            return "candidates have no text"
        if data.num_candidates > MAX_CANDIDATES:
            limit = f"(limit: {MAX_CANDIDATES:,})"
            return f"a weight for each pair of {data.num_candidates:,} candidates is too much {limit}"
        return None if data.has_histories else NO_HISTORY

    def fit(self, data: BaselineData) -> None:
        """Compare each text with every text."""
        assert data.corpus_texts is not None
        index = TfIdf()
        index.fit(data.corpus_texts)
        self._positives, self._weights = data.positives, torch.from_numpy(index.scores(data.corpus_texts))

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): the sums of the weights of the liked candidates."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        return F.embedding_bag(liked.values.long(), self._weights, liked.offsets, mode="sum", include_last_offset=True)
