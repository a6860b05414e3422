"""The MLP scorer, which an index cannot serve."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.utils.errors import UserError, require_at_least, require_fraction


class MLPScorer(Scorer):
    """MLP over the concatenated embeddings of both sides: deep match, the MLP of neural collaborative filtering.

    logit = w · ReLU(… ReLU(W [query; candidate] + b)), with ``dropout`` before every linear layer except the first.

    Every pair passes through the layers, so an index of the candidates cannot serve this scorer: a search scores the
    whole corpus. Two savings reduce the cost without changing the result. First, the first layer is a sum over the
    sides, W [q; c] = W_q q + W_c c, so each embedding passes through its half once, and the (Q, C, 2 D) tensor of pairs
    is never built. Second, queries are scored in chunks whose hidden layers take at most ``memory_mib`` (a chunk has at
    least one query); in training, the backward pass computes each chunk again instead of keeping it.

    The sides may differ in width. Towers must have no ``bias``, which is for ``Dot``.

    Args:
        query_dim: width of a query embedding, the query tower's ``output_dim``.
        candidate_dim: width of a candidate embedding, the candidate tower's ``output_dim``.
        hidden_dims: widths of the hidden layers, at least one; None = one layer of width 64.
        dropout: probability in [0, 1).
        memory_mib: maximum size of a chunk's widest hidden layer in MiB. On a CPU, a chunk that fits the cache is
            several times as fast; a GPU is faster with larger chunks.

    Source: He et al., arXiv 1708.05031 (NCF).

    Raises:
        UserError: there is no hidden layer, a number is below 1, the dropout is outside [0, 1), or the embeddings have
            other widths.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.scorers import MLPScorer
        >>> scorer = MLPScorer(query_dim=4, candidate_dim=6, hidden_dims=[32, 8])
        >>> scorer(torch.randn(2, 4), torch.randn(5, 6)).shape, scorer.indexable
        (torch.Size([2, 5]), False)
    """

    indexable: ClassVar[bool] = False
    takes_any_width: ClassVar[bool] = False

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
                "MLPScorer: hidden_dims is []; it must have at least one width, because without a hidden layer all "
                "queries rank the candidates equally"
            )
        sizes = {"query_dim": query_dim, "candidate_dim": candidate_dim, "memory_mib": memory_mib}
        for name, size in (*sizes.items(), (f"a width of hidden_dims {widths}", min(widths))):
            require_at_least("MLPScorer", name, size)
        require_fraction("MLPScorer", "dropout", dropout)
        self.query_dim, self.candidate_dim = query_dim, candidate_dim
        self.input = nn.Linear(query_dim + candidate_dim, widths[0])
        self.layers = nn.Sequential()
        for width, following in zip(widths, [*widths[1:], 1], strict=True):
            self.layers.append(nn.ReLU(inplace=True))
            self.layers.append(nn.Dropout(dropout))
            self.layers.append(nn.Linear(width, following))
        self._pairs_at_once = memory_mib * 2**18 // max(widths)  # 2**18 float32 take one MiB

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse embeddings whose widths are not ``query_dim`` and ``candidate_dim``.

        Raises:
            UserError: a width differs.
        """
        if (query_dim, candidate_dim) != (self.query_dim, self.candidate_dim):
            raise UserError(
                f"MLPScorer: query_dim is {self.query_dim} and candidate_dim is {self.candidate_dim}, but the towers' "
                f"embeddings have widths {query_dim} and {candidate_dim}; set both to the towers' output_dim, and use "
                "towers without bias"
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
            query_weight, candidate_weight = torch.split(self.input.weight, [self.query_dim, self.candidate_dim], 1)
            queries = F.linear(query.float(), query_weight, self.input.bias)  # (Q, H)
            candidates = F.linear(candidate.float(), candidate_weight)  # (C, H)
            if torch.compiler.is_exporting():  # the number of chunks would be data
                return self._hidden(queries, candidates, columns)
            size = max(1, self._pairs_at_once // max(1, len(candidates) if columns is None else columns.shape[1]))
            rows = torch.split(queries, size)
            own = [None] * len(rows) if columns is None else torch.split(columns, size)
            if len(rows) == 1:
                return self._hidden(queries, candidates, columns)
            return torch.cat([self._chunk(part, candidates, these) for part, these in zip(rows, own, strict=True)])

    def _chunk(self, queries: Tensor, candidates: Tensor, columns: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled():
            return self._hidden(queries, candidates, columns)
        logits = checkpoint(self._hidden, queries, candidates, columns, use_reentrant=False)
        assert isinstance(logits, Tensor)
        return logits

    def _hidden(self, queries: Tensor, candidates: Tensor, columns: Tensor | None) -> Tensor:
        """(Q, H), (C, H) and, if only these columns are scored, (Q, n) -> (Q, C) or (Q, n)."""
        others = candidates if columns is None else F.embedding(columns, candidates)  # (C, H) or (Q, n, H)
        logits: Tensor = self.layers(queries[:, None] + others)  # (Q, C or n, 1)
        return logits.squeeze(-1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"query_dim={self.query_dim}, candidate_dim={self.candidate_dim}"
