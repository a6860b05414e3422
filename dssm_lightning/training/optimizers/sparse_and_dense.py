"""Two optimizers as one: what updates rows of tables, and what updates all else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer

from dssm_lightning.utils.errors import UserError

OptimizerFactory: TypeAlias = Callable[[Iterable[Any]], Optimizer]


class SparseAndDense(Optimizer):
    """One optimizer for the tables with sparse gradients, another for the rest.

    To Lightning, to schedules and in a checkpoint they are one: the groups of the tables come first, then those of the
    dense part; a schedule scales the learning rate of each from where it starts.

    Args:
        params: groups of parameters; those of sparse tables say ``sparse: True``
            (:func:`~dssm_lightning.training.optimizers.parameter_groups.parameter_groups` makes them).
        sparse: tables -> optimizer: ``torch.optim.SparseAdam``, ``RowWiseAdagrad``, ``LazyAdam``, ``torch.optim.SGD``.
        dense: parameters -> optimizer, such as ``torch.optim.AdamW``, whose weight decay then spares the tables.

    Raises:
        ValueError: no table has sparse gradients, or nothing else trains.
    """

    def __init__(self, params: Iterable[Any], sparse: OptimizerFactory, dense: OptimizerFactory) -> None:
        groups = [each if isinstance(each, dict) else {"params": [each]} for each in params]
        tables = [group for group in groups if group.get("sparse")]
        rest = [group for group in groups if not group.get("sparse") and group["params"]]
        if not tables:
            raise UserError(
                "SparseAndDense has no table for its sparse part: set sparse: true for the encoder of a large table, "
                "or name the dense optimizer alone"
            )
        if not rest:
            raise UserError(
                "SparseAndDense has nothing for its dense part: all that trains are sparse tables; name the sparse "
                "optimizer alone"
            )
        self.parts = sparse(tables), dense(rest)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part in self.parts:
            self.state.update(part.state)  # Adagrad has one from the start
        self._share()

    def _share(self) -> None:
        """Let the parts work on what this optimizer saves and schedules change: its groups, its state."""
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, both of them."""
        super().load_state_dict(state_dict)
        self._share()
