"""Two rankings fused into one: the model's, which finds synonyms, and BM25's, which finds rare names."""

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
"""Of the paper: the larger, the less the first ranks stand out."""


class Hybrid:
    """Reciprocal rank fusion of a model's scores with BM25 over the texts that the model reads.

    A candidate gets 1 / (60 + r) + weight / (60 + r'), r and r' being its 1-based ranks in the two lists; equal scores
    share the first of their ranks. A candidate that shares no word with the query is not in the second list and gets
    nothing from it. The sum has no unit and no scale: it only orders.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009, doi 10.1145/1571941.1572114.

    Args:
        texts: (N,) the text of each candidate; None = candidates have no text.
        query_columns: the raw columns of a query that hold its text.
        weight: of the BM25 list; 1 as in the paper.

    Raises:
        UserError: a side without a text; a weight below 0.

    Example:
        >>> hybrid = Hybrid(["list files", "copy a file"], ["query"])
        >>> scores = torch.tensor([[0.9, 0.1]])  # of the model
        >>> hybrid.fuse(scores, pl.DataFrame({"query": ["copy"]})).argmax().item()
        1
    """

    def __init__(self, texts: Sequence[str | None] | None, query_columns: Sequence[str], weight: float = 1.0) -> None:
        for side, found in (("query", query_columns), ("candidate", texts)):
            if not found:
                raise UserError(f"hybrid needs a text on both sides: no {side} feature reads a text column")
        if not 0 <= weight < math.inf:
            raise UserError(f"hybrid: weight is {weight}; it must be 0 or more, and finite")
        assert texts is not None
        self.query_columns, self.weight = list(query_columns), weight
        self.index = BM25()
        self.index.fit(texts)

    def fuse(self, scores: Tensor, queries: pl.DataFrame, ranked: Tensor | None = None) -> Tensor:
        """(Q, N) scores of the model, and the raw columns of these queries -> (Q, N) float64 fused.

        Args:
            scores: of the corpus, or (Q, M) of the rows ``ranked``.
            queries: their raw columns.
            ranked: (M,) the rows of the corpus that are ranked; None = all.

        Raises:
            ValueError: a text column that is missing there.
        """
        missing = [name for name in self.query_columns if name not in queries.columns]
        if missing:
            raise UserError(f"hybrid: the query's text {missing[0]!r} is a column of the interactions, not of queries")
        words = self.index.search(join_text_columns(queries, self.query_columns))
        words = words if ranked is None else words[:, ranked]
        words = words.masked_fill(words <= 0, -math.inf).to(scores.device)
        return reciprocal_ranks(scores) + self.weight * reciprocal_ranks(words)


def reciprocal_ranks(scores: Tensor, k: int = K) -> Tensor:
    """(Q, N) -> (Q, N) float64: 1 / (k + rank), of equal scores the first of their ranks; 0 where a score is −∞."""
    ascending = scores.sort(dim=1).values
    above = scores.shape[1] - torch.searchsorted(ascending, scores.contiguous(), right=True)
    return (1.0 / (k + 1.0 + above.double())).masked_fill_(scores == -math.inf, 0.0)
