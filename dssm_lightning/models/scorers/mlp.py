"""An MLP over both embeddings, which no index can serve."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.utils.errors import UserError


class MLPScorer(Scorer):
    """The logit of an MLP over both embeddings side by side: deep match, and the MLP of neural collaborative filtering.

    logit = w · ReLU(… ReLU(W [query; candidate] + b)), with ``dropout`` before every linear layer but the first.

    Every pair goes through the layers, so that no index of the candidates can serve it: searching means scoring the
    whole corpus. Two savings keep that bearable, and change nothing. The first layer is linear in the two sides,
    W [q; c] = W_q q + W_c c, so each embedding goes through its half once and the (Q, C, 2 D) matrix of pairs is never
    built. And queries are scored in slices, whose hidden layers take ``memory_mib`` at most, or one query's; in
    training each slice is computed again in the backward pass in place of being kept.

    Sides may differ in width. A candidate ``bias`` is for ``Dot``.

    Args:
        query_dim: width of a query embedding, its tower's ``output_dim``.
        candidate_dim: width of a candidate embedding.
        hidden_dims: widths of the hidden layers, at least one; None = one of 64.
        dropout: probability in [0, 1).
        memory_mib: what the widest hidden layer of a slice may take, in MiB. What fits the cache is several times as
            fast on a CPU; a GPU likes more.

    Source: He et al., arXiv 1708.05031 (NCF).

    Raises:
        ValueError: no hidden layer, widths below 1, or towers of other widths.
    """

    indexable: ClassVar[bool] = False

    def __init__(
        self,
        query_dim: int,
        candidate_dim: int,
        hidden_dims: list[int] | None = None,
        dropout: float = 0.0,
        memory_mib: int = 8,
    ) -> None:
        super().__init__()
        widths = [64] if hidden_dims is None else hidden_dims
        if not widths:
            raise UserError(
                "MLPScorer: hidden_dims is empty; without a hidden layer the logit is a sum of two sides, and every "
                "query would rank the candidates alike"
            )
        if min(query_dim, candidate_dim, memory_mib, *widths) < 1:
            raise UserError(
                f"MLPScorer: query_dim {query_dim}, candidate_dim {candidate_dim}, hidden_dims {widths} and memory_mib "
                f"{memory_mib} must all be at least 1"
            )
        self.query_dim, self.candidate_dim = query_dim, candidate_dim
        self.input = nn.Linear(query_dim + candidate_dim, widths[0])
        self.layers = nn.Sequential()
        for width, following in zip(widths, [*widths[1:], 1], strict=True):
            self.layers.append(nn.ReLU(inplace=True))
            self.layers.append(nn.Dropout(dropout))
            self.layers.append(nn.Linear(width, following))
        self._pairs_at_once = memory_mib * 2**18 // max(widths)  # 2**18 floats take one MiB

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse embeddings that are not as wide as the scorer was told.

        Raises:
            ValueError: as said.
        """
        if (query_dim, candidate_dim) != (self.query_dim, self.candidate_dim):
            raise UserError(
                f"MLPScorer was made for query embeddings {self.query_dim} wide and candidate embeddings "
                f"{self.candidate_dim} wide, the towers give {query_dim} and {candidate_dim}; set query_dim and "
                "candidate_dim to the towers' output_dim (and leave `bias` to Dot)"
            )

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, query_dim), (C, candidate_dim) -> (Q, C) float32."""
        return self._logits(query, candidate, None)

    def pairs(self, query: Tensor, candidate: Tensor, columns: Tensor) -> Tensor:
        """(Q, query_dim), (C, candidate_dim), (Q, n) -> (Q, n) float32."""
        return self._logits(query, candidate, columns)

    def _logits(self, query: Tensor, candidate: Tensor, columns: Tensor | None) -> Tensor:
        self.check_widths(query.shape[-1], candidate.shape[-1])
        with torch.autocast(query.device.type, enabled=False):
            of_query, of_candidate = torch.split(self.input.weight, [self.query_dim, self.candidate_dim], 1)
            queries = F.linear(query.float(), of_query, self.input.bias)  # (Q, H)
            candidates = F.linear(candidate.float(), of_candidate)  # (C, H)
            size = max(1, self._pairs_at_once // max(1, len(candidates) if columns is None else columns.shape[1]))
            rows = torch.split(queries, size)
            own = [None] * len(rows) if columns is None else torch.split(columns, size)
            if len(rows) == 1:
                return self._hidden(queries, candidates, columns)
            return torch.cat([self._slice(part, candidates, of) for part, of in zip(rows, own, strict=True)])

    def _slice(self, queries: Tensor, candidates: Tensor, columns: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled():
            return self._hidden(queries, candidates, columns)
        logits = checkpoint(self._hidden, queries, candidates, columns, use_reentrant=False)
        assert isinstance(logits, Tensor)
        return logits

    def _hidden(self, queries: Tensor, candidates: Tensor, columns: Tensor | None) -> Tensor:
        """(Q, H), (C, H) and perhaps (Q, n) -> (Q, C) or (Q, n)."""
        others = candidates if columns is None else F.embedding(columns, candidates)  # (C, H) or (Q, n, H)
        logits: Tensor = self.layers(queries[:, None] + others)  # (Q, C or n, 1)
        return logits.squeeze(-1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"query_dim={self.query_dim}, candidate_dim={self.candidate_dim}"
