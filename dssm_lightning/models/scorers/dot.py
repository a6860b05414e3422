"""The dot product scorer, which an index can serve."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.models.scorers.base import Scorer
from dssm_lightning.utils.errors import UserError, require_positive


class Dot(Scorer):
    """Scaled dot product: logits = logit_scale × query · candidate, in float32 also under autocast.

    If both towers normalise, the logits are scaled cosines. ``logit_scale`` is 1 / temperature, and the γ of the DSSM
    paper. The parameter is the scale's logarithm, as in open_clip; the checkpoint has it even if it is not learnable.

    Autocast is off because bfloat16 rounds twenty thousand scores to two thousand values, and such ties change ranks.

    Args:
        logit_scale: factor of the dot product; the initial factor if it is learnable. 20 suits cosines in a softmax. 1
            suits losses with a margin, and towers that do not normalise.
        learnable: whether training changes the scale.
        max_logit_scale: upper limit of a learnable scale (CLIP, arXiv 2103.00020).

    Raises:
        UserError: a scale is not positive, or a learnable scale starts above its maximum; in ``forward``, the
            embeddings differ in width.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.scorers import Dot
        >>> query, candidate = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])
        >>> Dot(logit_scale=10)(query, candidate)
        tensor([[110.,  20.]])
    """

    indexable: ClassVar[bool] = True

    def __init__(self, logit_scale: float = 1.0, learnable: bool = False, max_logit_scale: float = 100.0) -> None:
        super().__init__()
        require_positive("Dot", "logit_scale", logit_scale)
        require_positive("Dot", "max_logit_scale", max_logit_scale)
        if learnable and logit_scale > max_logit_scale:
            raise UserError(
                f"Dot: the learnable logit_scale starts at {logit_scale}, above max_logit_scale {max_logit_scale}; "
                "start lower or raise max_logit_scale"
            )
        self.learnable = learnable
        self.max_logit_scale = max_logit_scale
        # Shape (1,): FSDP cannot shard scalars.
        self.log_logit_scale = nn.Parameter(torch.tensor([math.log(logit_scale)]), requires_grad=learnable)

    @property
    def logit_scale(self) -> Tensor:
        """(1,) the current factor."""
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
            own = F.embedding(columns, candidate.float())  # (Q, n, D); the backward pass of indexing is slow
            return (own @ self._scaled(query, candidate)[:, :, None]).squeeze(-1)

    def _scaled(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D) scaled queries: scaling the logits would keep a second (Q, C) matrix for the backward pass."""
        if query.shape[-1] != candidate.shape[-1]:
            raise UserError(
                f"query embeddings are {query.shape[-1]} wide and candidate embeddings {candidate.shape[-1]}; "
                "give both towers the same output_dim"
            )
        return self.logit_scale * query.float()

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        limit = f" <= {self.max_logit_scale:g}, learnable" if self.learnable else ""
        return f"logit_scale={self.logit_scale.item():.4g}{limit}"


class _AtMost(torch.autograd.Function):
    """min(x, limit) with a gradient that is zero only if it would push x further above the limit.

    The gradient of ``clamp`` is zero at the limit, so that a scale above its limit never decreases. open_clip therefore
    clamps the parameter itself after each step. This function needs no step hook and no in-place change.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        """(n,) -> (n,)."""
        ctx.save_for_backward(x >= limit)
        return x.clamp(max=limit)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Zero a negative gradient at the limit, because descent would raise x."""
        (at_limit,) = ctx.saved_tensors
        (grad,) = grad_outputs
        return grad.masked_fill(at_limit & (grad < 0), 0.0), None
