"""Adagrad with one number as the state of each row of a table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dssm_lightning.training.optimizers.sparse_rows import named_rows, write_rows
from dssm_lightning.utils.errors import require_at_least


class RowWiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one learning rate for each row of a table: the state of a table (V, D) is (V,).

    With g the gradient of row r, s_r ← s_r + mean(g²) and w_r ← w_r − lr · g / (√s_r + eps). If the gradient is sparse
    (an encoder's table with ``sparse: true``), only the rows that occur are read and written, also by the weight decay.
    Dense gradients are possible, too. The "rows" of a vector are its entries, so that its step is Adagrad's.

    Args:
        params: parameters or groups of parameters.
        lr: learning rate.
        eps: added to the denominator.
        weight_decay: L2 penalty, added to the gradient; for a sparse gradient, only of the rows that occur.
        initial_accumulator_value: the initial s.

    Raises:
        UserError: a negative setting.

    Sources: Duchi et al. 2011 (Adagrad); by row as in ``torchrec.optim.RowWiseAdagrad`` and FBGEMM's
    ``EXACT_ROWWISE_ADAGRAD``, described in Mudigere et al., arXiv 2104.05158.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.optimizers import RowWiseAdagrad
        >>> table = torch.nn.Embedding.from_pretrained(torch.zeros(3, 2), freeze=False, sparse=True)
        >>> optimizer = RowWiseAdagrad(table.parameters(), lr=0.5)
        >>> table(torch.tensor([1])).sum().backward()
        >>> optimizer.step()
        >>> table.weight[:, 0].tolist()  # only row 1 occurs
        [0.0, -0.5, 0.0]
        >>> optimizer.state[table.weight]["sum"].tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
    ) -> None:
        settings = {
            "lr": lr,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }
        for name, value in settings.items():
            require_at_least("RowWiseAdagrad", name, value, 0)
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        table = parameter if parameter.dim() == 2 else parameter.view(*(parameter.shape[:1] or (1,)), -1)  # (V, D)
        state = self.state[parameter]
        if not state:
            state["sum"] = torch.zeros_like(table[:, 0]).add_(group["initial_accumulator_value"])  # (V,)
        if not gradient.is_sparse:
            _step(table, gradient.view_as(table), state["sum"], group)
            return
        for rows, values in named_rows(gradient):
            weight, total = table.index_select(0, rows), state["sum"].index_select(0, rows)
            _step(weight, values, total, group)
            state["sum"].index_copy_(0, rows, total)
            write_rows(table, rows, weight)


def _step(weight: Tensor, gradient: Tensor, total: Tensor, group: dict[str, Any]) -> None:
    """Update weights (U, D) and sums (U,) in place, by gradients (U, D)."""
    if group["weight_decay"]:
        gradient = gradient.add(weight, alpha=group["weight_decay"])
    total.add_(gradient.square().mean(dim=1))
    weight.addcdiv_(gradient, total.sqrt().add_(group["eps"])[:, None], value=-group["lr"])
