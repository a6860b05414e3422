"""Adam that leaves alone what a batch did not use."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dssm_lightning.training.optimizers.sparse_rows import named_rows


class LazyAdam(torch.optim.Adam):
    """Adam that leaves the rows of a table alone that a batch did not use.

    Parameters with a dense gradient are updated as by ``torch.optim.Adam``. Where the gradient is sparse (an encoder's
    table with ``sparse: true``) only the rows that occur are read and written: their moments and their weight decay
    stand still in between, so that a step costs what the batch uses and not what the table holds. The bias correction
    counts the steps of the optimizer, as ``torch.optim.SparseAdam`` does. Known as LazyAdam from TensorFlow.

    Args:
        params: as for ``torch.optim.Adam``.
        lr: learning rate.
        betas: decay of both moments.
        eps: added to the denominator.
        weight_decay: L2 penalty; for a sparse gradient, of the rows that occur.
        fused: let torch update all dense parameters in one kernel.

    Source: Kingma and Ba, arXiv 1412.6980.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        put_aside = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    gradient = parameter.grad.coalesce()
                    self._update_rows(parameter, gradient, group)
                    put_aside.append((parameter, gradient))
                    parameter.grad = None  # Adam's own step refuses it
        super().step()
        for parameter, gradient in put_aside:
            parameter.grad = gradient
        return loss

    def _update_rows(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(table, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(table, memory_format=torch.preserve_format)
        state["step"] += 1
        for rows, values in named_rows(gradient):
            _update(table, rows, values, state, group)


def _update(table: Tensor, rows: Tensor, values: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    (beta1, beta2), step = group["betas"], int(state["step"])
    weight = table.index_select(0, rows)
    if group["weight_decay"]:
        values = values.add(weight, alpha=group["weight_decay"])
    first = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - beta1)
    second = state["exp_avg_sq"].index_select(0, rows).mul_(beta2).addcmul_(values, values, value=1 - beta2)
    state["exp_avg"].index_copy_(0, rows, first)
    state["exp_avg_sq"].index_copy_(0, rows, second)
    denominator = second.sqrt_().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weight.addcdiv_(first, denominator, value=-group["lr"] / (1 - beta1**step))
    table.index_copy_(0, rows, weight)
