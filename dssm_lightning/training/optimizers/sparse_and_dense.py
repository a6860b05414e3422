"""Two optimizers as one: for sparse tables, and for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer

from dssm_lightning.utils.errors import UserError

OptimizerFactory: TypeAlias = Callable[[Iterable[Any]], Optimizer]


class SparseAndDense(Optimizer):
    """Combine an optimizer for the tables with sparse gradients and an optimizer for all other parameters.

    For Lightning, schedules and checkpoints they are one optimizer. The groups of the tables come first, then the dense
    groups. A schedule scales the learning rate of each group from the group's initial value.

    Args:
        params: groups of parameters; groups of sparse tables have the key ``sparse: True``
            (:func:`~dssm_lightning.training.optimizers.parameter_groups.parameter_groups` makes them).
        sparse: tables -> optimizer: ``torch.optim.SparseAdam``, ``RowWiseAdagrad``, ``LazyAdam``, ``torch.optim.SGD``.
        dense: parameters -> optimizer, such as ``torch.optim.AdamW``, whose weight decay then excludes the tables.

    Raises:
        UserError: no table has sparse gradients, or nothing else is trained.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.optimizers import SparseAndDense
        >>> table, layer = torch.nn.Embedding(9, 2, sparse=True), torch.nn.Linear(2, 1)
        >>> groups = [{"params": [table.weight], "sparse": True}, {"params": list(layer.parameters())}]
        >>> optimizer = SparseAndDense(groups, torch.optim.SparseAdam, torch.optim.AdamW)
        >>> [type(part).__name__ for part in optimizer.parts]
        ['SparseAdam', 'AdamW']
    """

    def __init__(self, params: Iterable[Any], sparse: OptimizerFactory, dense: OptimizerFactory) -> None:
        groups = [each if isinstance(each, dict) else {"params": [each]} for each in params]
        tables = [group for group in groups if group.get("sparse")]
        rest = [group for group in groups if not group.get("sparse") and group["params"]]
        if not tables:
            raise UserError(
                "SparseAndDense: no table has sparse gradients; set sparse: true for the encoder of a large table, or "
                "use the dense optimizer alone"
            )
        if not rest:
            raise UserError(
                "SparseAndDense: all trained parameters are sparse tables, and none is left for the dense part; use "
                "the sparse optimizer alone"
            )
        self.parts = sparse(tables), dense(rest)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part in self.parts:
            self.state.update(part.state)  # Adagrad has a state before its first step
        self._share()

    def _share(self) -> None:
        """Let the parts use the groups and the state of this optimizer, which are saved and which schedules change."""
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update the parameters of both parts once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of both parts."""
        super().load_state_dict(state_dict)
        self._share()
