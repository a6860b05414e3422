"""The dot product, which an index can serve."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.utils.errors import UserError


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
                raise UserError(f"Dot: {name} is {value}; it must be positive and finite")
        if learnable and logit_scale > max_logit_scale:
            raise UserError(
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
        with torch.autocast(query.device.type, enabled=False):
            return self._scaled(query, candidate) @ candidate.float().T  # (Q, C)

    def pairs(self, query: Tensor, candidate: Tensor, columns: Tensor) -> Tensor:
        """(Q, D), (C, D), (Q, n) -> (Q, n) float32."""
        with torch.autocast(query.device.type, enabled=False):
            own = F.embedding(columns, candidate.float())  # (Q, n, D); indexing is slow in its backward pass
            return (own @ self._scaled(query, candidate)[:, :, None]).squeeze(-1)

    def _scaled(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D): the query is scaled, so that no second (Q, C) matrix is held for the backward pass."""
        if query.shape[-1] != candidate.shape[-1]:
            raise UserError(
                f"query embeddings are {query.shape[-1]} wide and candidate embeddings {candidate.shape[-1]}; "
                "give both towers the same output_dim"
            )
        return self.logit_scale * query.float()

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
