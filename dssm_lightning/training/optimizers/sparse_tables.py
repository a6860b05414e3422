"""Tables with sparse gradients, and the optimizers that can train them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Optimizer, SparseAdam

from dssm_lightning.training.optimizers.lazy_adam import LazyAdam
from dssm_lightning.training.optimizers.row_wise_adagrad import RowWiseAdagrad
from dssm_lightning.training.optimizers.sparse_and_dense import SparseAndDense
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError

TAKE_SPARSE = (LazyAdam, RowWiseAdagrad, SparseAdam, Adagrad, SGD)
NOT_WITH_SPARSE: list[tuple[type[Optimizer], str]] = [
    (Adagrad, "weight_decay"),
    (SGD, "weight_decay"),
    (SGD, "momentum"),
]
"""Settings that torch refuses for sparse gradients, or, for momentum, supports with a state that grows in each step."""


def sparse_tables(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained tables with sparse gradients by the name of their module; a shared table once."""
    modules = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    return {name: table.weight for name, table in modules.items() if table.sparse and table.weight.requires_grad}


def check_sparse_tables(model: nn.Module, optimizer: Optimizer, *, clips_values: bool = False) -> None:
    """Check before training that an optimizer can train the sparse tables of a model.

    Args:
        model: the model with the tables.
        optimizer: the optimizer of all trained parameters.
        clips_values: whether gradients are clipped value by value.

    Raises:
        UserError: the optimizer takes only dense gradients, or has a setting that it cannot apply to sparse gradients;
            SparseAdam has other parameters than sparse tables; gradients are clipped by value; the backend of the
            processes cannot sum sparse gradients (NCCL).
    """
    names = {table: name for name, table in sparse_tables(model).items()}
    for part in optimizer.parts if isinstance(optimizer, SparseAndDense) else (optimizer,):
        _check(part, names)
    if not names:
        return
    first = f"{next(iter(names.values()))} has sparse gradients"
    if clips_values:
        raise UserError(f"{first}, which torch cannot clip by value: set trainer.gradient_clip_algorithm to norm")
    if not distributed.adds_sparse():
        raise UserError(
            f"{first}, which NCCL cannot sum over processes (github.com/pytorch/pytorch/issues/22400): set sparse: "
            "false for its encoder, or use gloo (trainer.strategy: DDPStrategy, process_group_backend: gloo)"
        )


def _check(optimizer: Optimizer, names: dict[Tensor, str]) -> None:
    kind = type(optimizer).__name__
    for group in optimizer.param_groups:
        sparse = [names[parameter] for parameter in group["params"] if parameter in names]
        if isinstance(optimizer, SparseAdam) and len(sparse) < len(group["params"]):
            raise UserError(
                "SparseAdam takes only sparse gradients, and some trained parameters have dense gradients: make it the "
                "sparse part of SparseAndDense, with another optimizer as the dense part"
            )
        if sparse and not isinstance(optimizer, TAKE_SPARSE):
            raise UserError(
                f"{sparse[0]} has sparse gradients, which {kind} does not take: use LazyAdam, or set sparse: false for "
                f"the encoder ({len(sparse)} such tables), or make {kind} the dense part of SparseAndDense, with "
                "SparseAdam or RowWiseAdagrad as the sparse part"
            )
        for refusing, setting in NOT_WITH_SPARSE:
            if sparse and isinstance(optimizer, refusing) and group[setting]:
                raise UserError(
                    f"{sparse[0]} has sparse gradients, for which {kind} has no {setting}; {setting} is "
                    f"{group[setting]}: set {setting} to 0, or use LazyAdam or RowWiseAdagrad"
                )
