"""Where the two towers meet: embeddings of queries and candidates in, logits out."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Scorer(nn.Module):
    """(Q, D), (C, D) -> (Q, C) logits in float32.

    What the two towers end in must fit the scorer, and each other where it multiplies them: :meth:`check_widths`.
    """

    indexable: ClassVar[bool] = False
    """Whether ranking by logits is ranking by the embeddings' inner product, so that an index can serve the model."""

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (C, D) -> (Q, C)."""
        raise NotImplementedError

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


class Dot(Scorer):
    """logits = logit_scale × query · candidate, in float32 even under autocast.

    With towers that normalise this is a scaled cosine. ``logit_scale`` is 1 / temperature, and the γ of the DSSM
    paper. It is kept as a logarithm, as open_clip keeps it, and lies in the checkpoint whether it is learnt or not.

    Autocast is switched off because in bfloat16 twenty thousand scores fall onto two thousand values, and ties decide
    ranks.

    Args:
        logit_scale: what the dot product is multiplied by (the initial value, where it is learnt). 20 suits cosines in
            a softmax; 1 leaves the dot product as it is, for losses with a margin and towers that do not normalise.
        learnable: whether training changes it.
        max_logit_scale: what a learnt scale never exceeds (CLIP, arXiv 2103.00020).

    Raises:
        ValueError: a scale that is not positive, or a learnable one that starts above its maximum; in ``forward``,
            towers of different width.
    """

    indexable: ClassVar[bool] = True

    def __init__(self, logit_scale: float = 1.0, learnable: bool = False, max_logit_scale: float = 100.0) -> None:
        super().__init__()
        for name, value in (("logit_scale", logit_scale), ("max_logit_scale", max_logit_scale)):
            if not 0 < value < math.inf:
                raise ValueError(f"Dot: {name} is {value}; it must be positive and finite")
        if learnable and logit_scale > max_logit_scale:
            raise ValueError(
                f"Dot: the learnable logit_scale starts at {logit_scale}, above max_logit_scale {max_logit_scale}; "
                "start lower or raise max_logit_scale"
            )
        self.learnable = learnable
        self.max_logit_scale = max_logit_scale
        # Shape (1,): FSDP refuses to shard scalars.
        self.log_logit_scale = nn.Parameter(torch.tensor([math.log(logit_scale)]), requires_grad=learnable)

    @property
    def logit_scale(self) -> Tensor:
        """(1,) the factor in use."""
        if not self.learnable:
            return self.log_logit_scale.exp()
        clamped: Tensor = _AtMost.apply(self.log_logit_scale, math.log(self.max_logit_scale))
        return clamped.exp()

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (C, D) -> (Q, C) float32."""
        if query.shape[-1] != candidate.shape[-1]:
            raise ValueError(
                f"query embeddings are {query.shape[-1]} wide and candidate embeddings {candidate.shape[-1]}; "
                "give both towers the same output_dim"
            )
        with torch.autocast(query.device.type, enabled=False):
            scaled = self.logit_scale * query.float()  # (Q, D), so that no second (Q, C) matrix is held for backward
            return scaled @ candidate.float().T  # (Q, C)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        limit = f" <= {self.max_logit_scale:g}, learnable" if self.learnable else ""
        return f"logit_scale={self.logit_scale.item():.4g}{limit}"


class _AtMost(torch.autograd.Function):
    """min(x, limit) whose gradient stops only what would push x further above the limit.

    ``clamp`` stops every gradient there, and a scale that has once passed its limit never comes back. open_clip
    therefore clamps the parameter itself after each step; this needs no step hook and changes nothing in place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        """(n,) -> (n,)."""
        ctx.save_for_backward(x >= limit)
        return x.clamp(max=limit)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """A negative gradient raises x in descent: it is stopped at the limit."""
        (at_limit,) = ctx.saved_tensors
        (grad,) = grad_outputs
        return grad.masked_fill(at_limit & (grad < 0), 0.0), None


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
            raise ValueError(
                "MLPScorer: hidden_dims is empty; without a hidden layer the logit is a sum of two sides, and every "
                "query would rank the candidates alike"
            )
        if min(query_dim, candidate_dim, memory_mib, *widths) < 1:
            raise ValueError(
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
            raise ValueError(
                f"MLPScorer was made for query embeddings {self.query_dim} wide and candidate embeddings "
                f"{self.candidate_dim} wide, the towers give {query_dim} and {candidate_dim}; set query_dim and "
                "candidate_dim to the towers' output_dim (and leave `bias` to Dot)"
            )

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, query_dim), (C, candidate_dim) -> (Q, C) float32."""
        self.check_widths(query.shape[-1], candidate.shape[-1])
        with torch.autocast(query.device.type, enabled=False):
            of_query, of_candidate = torch.split(self.input.weight, [self.query_dim, self.candidate_dim], 1)
            queries = F.linear(query.float(), of_query, self.input.bias)  # (Q, H)
            candidates = F.linear(candidate.float(), of_candidate)  # (C, H)
            size = max(1, self._pairs_at_once // max(1, len(candidates)))
            if len(queries) <= size:
                return self._pairs(queries, candidates)
            return torch.cat([self._slice(part, candidates) for part in torch.split(queries, size)])

    def _slice(self, queries: Tensor, candidates: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self._pairs(queries, candidates)
        logits = checkpoint(self._pairs, queries, candidates, use_reentrant=False)
        assert isinstance(logits, Tensor)
        return logits

    def _pairs(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """(Q, H), (C, H) -> (Q, C)."""
        logits: Tensor = self.layers(queries[:, None] + candidates)  # (Q, C, 1)
        return logits.squeeze(-1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"query_dim={self.query_dim}, candidate_dim={self.candidate_dim}"
