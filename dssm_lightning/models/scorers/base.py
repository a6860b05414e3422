"""What every scorer is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dssm_lightning.utils.errors import UserError


class Scorer(nn.Module):
    """(Q, D), (C, D) -> (Q, C) logits in float32.

    What the two towers end in must fit the scorer, and each other where it multiplies them: :meth:`check_widths`.
    """

    indexable: ClassVar[bool] = False
    """Whether ranking by logits is ranking by inner products of :meth:`vectors`, so that an index can serve."""

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (C, D) -> (Q, C)."""
        raise NotImplementedError

    def pairs(self, query: Tensor, candidate: Tensor, columns: Tensor) -> Tensor:
        """(Q, D), (C, D), (Q, n) -> (Q, n): each query's logits with the candidates of its own columns alone.

        Equal to ``forward`` with the columns gathered. Here it is just that; scorers save what is not asked for.
        """
        logits = self(query, candidate)
        assert isinstance(logits, Tensor)
        return logits.gather(1, columns)

    def vectors(self, embedding: Tensor) -> Tensor:
        """(B, D) embeddings of either side -> (H, B, d): what an index of inner products holds, and is asked with.

        It has H tables, each asked with the query's vector of the same number, and a candidate counts by its best hit:
        a logit is the largest of the H inner products, times a scale. H = 1 unless a scorer says otherwise. The first k
        of each table, merged, hold the first k of all.

        Raises:
            ValueError: the scorer is not ``indexable``.
        """
        self.check_indexable(type(self).__name__)
        return embedding[None]

    def check_indexable(self, purpose: str) -> None:
        """Refuse a scorer whose embeddings are of no use without it.

        Raises:
            ValueError: it is not ``indexable``; ``purpose`` opens the message.
        """
        if not self.indexable:
            raise UserError(
                f"{purpose}: {type(self).__name__} does not rank by inner products of embeddings, so no index of them "
                "can serve this model; `search` and `score` go through the scorer itself"
            )

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse towers that end in these widths where the scorer cannot compare their embeddings.

        Raises:
            ValueError: different widths, which most scorers cannot compare.
        """
        if query_dim != candidate_dim:
            raise UserError(
                f"the towers end in different widths: query {query_dim}, candidate {candidate_dim}; "
                "set both output_dim alike"
            )
