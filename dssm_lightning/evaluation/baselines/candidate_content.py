"""Baselines of the candidates' attributes and texts, which also rank candidates that no query has liked yet."""

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
    """Rank candidates by the popularity of their genres: the same ranking for every query, also of new candidates.

    The popularity of a genre is the mean number of training positives of its candidates, over those with at least one.
    The score of a candidate is the mean over its genres, and 0 without a genre.

    Example:
        >>> str(AttributePopularity("genres"))
        "AttributePopularity(attribute='genres')"
    """

    attribute: str
    """Name of the candidate feature: a list of categories (genres), or one category."""

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that the candidates have no such attribute."""
        return None if self.attribute in data.attributes else f"candidates have no attribute {self.attribute!r}"

    def fit(self, data: BaselineData) -> None:
        """Count the training positives of each category."""
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
        """(Q, N), a view of one row."""
        return self._scores.expand(len(batch.query_row), -1)


@dataclass(eq=False)
class ContentTfIdf(ItemToItem):
    """Rank candidates by the sum of the TF-IDF cosines of their text with the texts of the query's positives.

    The ranking equals that of the cosine with the sum of the positives' vectors, a profile of the query.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> data = BaselineData(
        ...     positives=Ragged(torch.tensor([0]), torch.tensor([0, 1])),
        ...     num_candidates=3,
        ...     corpus_texts=["red shoes", "a red dress", "a book"],
        ... )
        >>> baseline = ContentTfIdf()
        >>> baseline.fit(data)
        >>> baseline._weights[0].argsort(descending=True).tolist()
        [0, 1, 2]
    """

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that candidates have no text, or what :meth:`ItemToItem.obstacle` finds."""
        return "no text is known of the candidates" if data.corpus_texts is None else super().obstacle(data)

    def fit(self, data: BaselineData) -> None:
        """Compare each text with every other text."""
        assert data.corpus_texts is not None
        index = TfIdf()
        index.fit(data.corpus_texts)
        self._positives, self._weights = data.positives, index.search(data.corpus_texts).contiguous()
