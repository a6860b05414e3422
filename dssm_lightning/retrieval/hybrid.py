"""Fusion of two rankings: a model's, which finds synonyms, and BM25's, which finds rare names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.joined_columns import join_text_values
from dssm_lightning.retrieval.term_index import TermIndex
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.utils.errors import UserError, is_number

K = 60
"""Constant of the source: the larger it is, the less the first ranks stand out."""


class Hybrid:
    """Reciprocal rank fusion of a model's scores with BM25 over the texts that the model reads.

    A candidate gets 1 / (60 + r) + weight / (60 + r'), where r and r' are its 1-based ranks in the two lists; equal
    scores share the first of their ranks. A candidate that shares no word with the query is not in BM25's list and
    gets nothing from it. The sum has no unit and no scale: it only orders.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009, doi 10.1145/1571941.1572114.

    Args:
        candidates: (N,) the text of each candidate, or the index of these texts; None = candidates have no text.
        query_columns: the raw columns that hold a query's text.
        weight: weight of BM25's list; 1 in the source.

    Raises:
        UserError: a side without a text; a weight that is negative or not finite.

    Example:
        >>> hybrid = Hybrid(["list files", "copy a file"], ["query"])
        >>> scores = np.array([[0.9, 0.1]])  # of the model
        >>> hybrid.fuse(scores, hybrid.texts_of([{"query": "copy"}])).argmax().item()
        1
    """

    def __init__(
        self, candidates: TermIndex | Sequence[str | None] | None, query_columns: Sequence[str], weight: float = 1.0
    ) -> None:
        texts = candidates.count if isinstance(candidates, TermIndex) else candidates
        for side, found in (("query", query_columns), ("candidate", texts)):
            if not found:
                raise UserError(f"hybrid needs a text on both sides, but no {side} feature reads a text column")
        if not (is_number(weight) and 0 <= weight < math.inf):
            raise UserError(f"hybrid: weight is {weight!r}; it must be at least 0 and finite")
        assert candidates is not None
        self.query_columns, self.weight = list(query_columns), weight
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
        """Return the fused scores (Q, N) float64, or (Q, M) of the ranked candidates.

        A candidate whose score is −∞ is excluded: it is in neither list, and its fused score is 0.

        Args:
            scores: the model's scores, (Q, N) or (Q, M).
            texts: (Q,) the texts of the queries, as :meth:`texts_of` returns them.
            ranked: (M,) the corpus rows that are ranked; None = the whole corpus.

        Raises:
            UserError: BM25 has another number of candidates than the scores.
        """
        words = self.index.scores(texts)
        words = words if ranked is None else words[:, ranked]
        if words.shape != scores.shape:
            raise UserError(
                f"hybrid: scores are of shape {scores.shape}, and BM25 gives {words.shape}, for {len(texts):,} texts: "
                "it may index another corpus"
            )
        words[(words <= 0) | (scores == -math.inf)] = -math.inf
        return reciprocal_ranks(scores) + self.weight * reciprocal_ranks(words)


def reciprocal_ranks(scores: NDArray[Any], k: int = K) -> NDArray[np.float64]:
    """(Q, N) -> (Q, N) float64: 1 / (k + rank) with 1-based ranks, and 0 for a score of −∞.

    Equal scores share the first of their ranks.

    Example:
        >>> reciprocal_ranks(np.array([[0.5, 0.9, 0.5]]), k=1).tolist()
        [[0.3333333333333333, 0.5, 0.3333333333333333]]
    """
    found = np.zeros(scores.shape)
    for row, values in zip(found, scores, strict=True):
        places = np.flatnonzero(values != -math.inf)  # few, of BM25's list
        ascending = places[np.argsort(values[places])]
        ordered = values[ascending]
        row[ascending] = 1.0 / (k + 1.0 + (len(ordered) - np.searchsorted(ordered, ordered, side="right")))
    return found


def _fitted(texts: Sequence[str | None]) -> BM25:
    index = BM25()
    index.fit(texts)
    return index
