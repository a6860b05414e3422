"""What every scorer is."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Scorer(nn.Module):
    """(Q, D), (C, D) -> (Q, C) logits in float32.

    What the two towers end in must fit the scorer, and each other where it multiplies them: :meth:`check_widths`.
    """

    indexable: ClassVar[bool] = False
    """Whether ranking by logits is ranking by the embeddings' inner product, so that an index can serve the model."""

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

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse towers that end in these widths where the scorer cannot compare their embeddings.

        Raises:
            ValueError: different widths, which most scorers cannot compare.
        """
        if query_dim != candidate_dim:
            raise ValueError(
                f"the towers end in different widths: query {query_dim}, candidate {candidate_dim}; "
                "set both output_dim alike"
            )
