"""Fusion of two rankings: a model's, which finds synonyms, and BM25's, which finds rare names."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.utils.errors import UserError

K = 60
"""Constant of the source: the larger it is, the less the first ranks stand out."""


class Hybrid:
    """Reciprocal rank fusion of a model's scores with BM25 over the texts that the model reads.

    A candidate gets 1 / (60 + r) + weight / (60 + r'), where r and r' are its 1-based ranks in the two lists; equal
    scores share the first of their ranks. A candidate that shares no word with the query is not in BM25's list and
    gets nothing from it. The sum has no unit and no scale: it only orders.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009, doi 10.1145/1571941.1572114.

    Args:
        texts: (N,) the text of each candidate; None = candidates have no text.
        query_columns: the raw columns that hold a query's text.
        weight: weight of BM25's list; 1 in the source.

    Raises:
        UserError: a side without a text; a weight that is negative or not finite.

    Example:
        >>> hybrid = Hybrid(["list files", "copy a file"], ["query"])
        >>> scores = torch.tensor([[0.9, 0.1]])  # of the model
        >>> hybrid.fuse(scores, pl.DataFrame({"query": ["copy"]})).argmax().item()
        1
    """

    def __init__(self, texts: Sequence[str | None] | None, query_columns: Sequence[str], weight: float = 1.0) -> None:
        for side, found in (("query", query_columns), ("candidate", texts)):
            if not found:
                raise UserError(f"hybrid needs a text on both sides, but no {side} feature reads a text column")
        if not 0 <= weight < math.inf:
            raise UserError(f"hybrid: weight is {weight}; it must be at least 0 and finite")
        assert texts is not None
        self.query_columns, self.weight = list(query_columns), weight
        self.index = BM25()
        self.index.fit(texts)

    def fuse(self, scores: Tensor, queries: pl.DataFrame, ranked: Tensor | None = None) -> Tensor:
        """Return the fused scores (Q, N) float64, or (Q, M) of the ranked candidates.

        Args:
            scores: the model's scores, (Q, N) or (Q, M).
            queries: Q rows with the raw text columns of the queries.
            ranked: (M,) the corpus rows that are ranked; None = the whole corpus.

        Raises:
            UserError: ``queries`` lacks a text column.
        """
        for name in self.query_columns:
            if name not in queries.columns:
                raise UserError(
                    f"hybrid: text column {name!r} belongs to interactions; BM25 reads only columns of queries, "
                    f"which are {queries.columns}"
                )
        words = self.index.search(join_text_columns(queries, self.query_columns))
        words = words if ranked is None else words[:, ranked]
        words = words.masked_fill(words <= 0, -math.inf).to(scores.device)
        return reciprocal_ranks(scores) + self.weight * reciprocal_ranks(words)


def reciprocal_ranks(scores: Tensor, k: int = K) -> Tensor:
    """(Q, N) -> (Q, N) float64: 1 / (k + rank) with 1-based ranks, and 0 for a score of −∞.

    Equal scores share the first of their ranks.

    Example:
        >>> reciprocal_ranks(torch.tensor([[0.5, 0.9, 0.5]]), k=1).tolist()
        [[0.3333333333333333, 0.5, 0.3333333333333333]]
    """
    ascending = scores.sort(dim=1).values
    above = scores.shape[1] - torch.searchsorted(ascending, scores.contiguous(), right=True)
    return (1.0 / (k + 1.0 + above.double())).masked_fill_(scores == -math.inf, 0.0)
