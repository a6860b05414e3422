"""Adam that updates only the rows of a table that a batch uses."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dssm_lightning.training.optimizers.sparse_rows import named_rows, write_rows


class LazyAdam(torch.optim.Adam):
    """Adam that updates only the rows of a table that a batch uses.

    Parameters with a dense gradient are updated as by ``torch.optim.Adam``. If the gradient is sparse (an encoder's
    table with ``sparse: true``), only the rows that occur are read and written: the moments and the weight decay of
    other rows do not change. The cost of a step depends on the batch and not on the size of the table. The bias
    correction counts the steps of the optimizer, as in ``torch.optim.SparseAdam``. TensorFlow Addons has the same
    optimizer under the name LazyAdam.

    Args:
        params: as for ``torch.optim.Adam``.
        lr: learning rate.
        betas: decay of both moments.
        eps: added to the denominator.
        weight_decay: L2 penalty; for a sparse gradient, only of the rows that occur.
        fused: update all dense parameters in one kernel of torch.

    Source: Kingma and Ba, arXiv 1412.6980.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.optimizers import LazyAdam
        >>> table = torch.nn.Embedding.from_pretrained(torch.zeros(3, 2), freeze=False, sparse=True)
        >>> optimizer = LazyAdam(table.parameters(), lr=0.1)
        >>> table(torch.tensor([1])).sum().backward()
        >>> optimizer.step()
        >>> [round(value, 3) for value in table.weight[:, 0].tolist()]  # only row 1 occurs
        [0.0, -0.1, 0.0]
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
        """Update the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._update_rows(parameter, parameter.grad, group)
                    sparse.append((parameter, parameter.grad))
                    parameter.grad = None  # Adam's step refuses sparse gradients
        super().step()
        for parameter, gradient in sparse:
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
    weight, first, second = (each.index_select(0, rows) for each in (table, state["exp_avg"], state["exp_avg_sq"]))
    if group["weight_decay"]:
        values = values.add(weight, alpha=group["weight_decay"])
    first.lerp_(values, 1 - beta1)
    second.mul_(beta2).addcmul_(values, values, value=1 - beta2)
    write_rows(state["exp_avg"], rows, first)
    write_rows(state["exp_avg_sq"], rows, second)
    denominator = second.sqrt_().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weight.addcdiv_(first, denominator, value=-group["lr"] / (1 - beta1**step))
    write_rows(table, rows, weight)
