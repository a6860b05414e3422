"""A model's ranking, which finds synonyms, blended with BM25's, which finds rare names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.joined_columns import join_text_values
from dssm_lightning.retrieval.blend import Blend
from dssm_lightning.retrieval.term_index import TermIndex
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.utils.errors import UserError


class Hybrid:
    """A model's scores blended with those of BM25 over the texts that the model reads.

    The rule is a :class:`~dssm_lightning.retrieval.blend.Blend`: reciprocal rank fusion, or a weighted mean of the
    scores whose form and weight ``fit`` chooses on validation rows. A blended score has no unit: it only orders.

    Args:
        candidates: (N,) the text of each candidate, or the index of these texts; None = candidates have no text.
        query_columns: the raw columns that hold a query's text.
        weight: the rule; a number is the weight of BM25's list in a reciprocal rank fusion, 1 in the source.

    Raises:
        UserError: a side without a text; a weight that is negative or not finite.

    Example:
        >>> hybrid = Hybrid(["list files", "copy a file"], ["query"])
        >>> scores = np.array([[0.9, 0.1]])  # of the model
        >>> hybrid.fuse(scores, hybrid.texts_of([{"query": "copy"}])).argmax().item()
        1
    """

    def __init__(
        self,
        candidates: TermIndex | Sequence[str | None] | None,
        query_columns: Sequence[str],
        weight: float | Blend = 1.0,
    ) -> None:
        texts = candidates.count if isinstance(candidates, TermIndex) else candidates
        for side, found in (("query", query_columns), ("candidate", texts)):
            if not found:
                raise UserError(f"hybrid needs a text on both sides, but no {side} feature reads a text column")
        self.blend = weight if isinstance(weight, Blend) else Blend("ranks", weight)
        assert candidates is not None
        self.query_columns = list(query_columns)
        self.index = candidates if isinstance(candidates, TermIndex) else _fitted(candidates)

    def texts_of(self, queries: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the texts (Q,) of raw queries. A missing column is an empty text.

        Raises:
            UserError: a value of a text column that is no text.
        """
        return join_text_values(queries, self.query_columns)

    def fuse(
        self, scores: NDArray[Any], texts: Sequence[str | None], ranked: NDArray[Any] | None = None
    ) -> NDArray[np.float64]:
        """Return the blended scores (Q, N) float64, or (Q, M) of the ranked candidates.

        A candidate whose score is −∞ is excluded, as :meth:`Blend.combine` describes.

        Args:
            scores: the model's scores, (Q, N) or (Q, M).
            texts: (Q,) the texts of the queries, as :meth:`texts_of` returns them.
            ranked: (M,) the corpus rows that are ranked; None = the whole corpus.

        Raises:
            UserError: BM25 has another number of candidates than the scores.
        """
        words = self.words_of(texts, ranked)
        if words.shape != scores.shape:
            raise UserError(
                f"hybrid: scores are of shape {scores.shape}, and BM25 gives {words.shape}, for {len(texts):,} texts: "
                "it may index another corpus"
            )
        return self.blend.combine(scores, words)

    def words_of(self, texts: Sequence[str | None], ranked: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return BM25's scores (Q, N) of texts (Q,), or (Q, M) of the ranked candidates."""
        words = self.index.scores(texts)
        return words if ranked is None else words[:, ranked]


def _fitted(texts: Sequence[str | None]) -> BM25:
    index = BM25()
    index.fit(texts)
    return index
