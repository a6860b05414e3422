"""Tables with sparse gradients: which there are, and which optimizers can take them."""

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
"""Settings for which torch has no rule where a gradient is sparse, or, for momentum, one that grows with each step."""


def sparse_tables(model: nn.Module) -> dict[str, Tensor]:
    """The tables that train by sparse gradients, by the name of their module; a shared one once."""
    modules = {name: part for name, part in model.named_modules() if isinstance(part, nn.Embedding)}
    return {name: table.weight for name, table in modules.items() if table.sparse and table.weight.requires_grad}


def check_sparse_tables(model: nn.Module, optimizer: Optimizer, *, clips_values: bool = False) -> None:
    """Refuse, before anything is computed, what cannot train sparse tables, or trains nothing else.

    Args:
        model: whose tables train.
        optimizer: over all that trains.
        clips_values: whether gradients are clipped entry by entry.

    Raises:
        ValueError: an optimizer that updates dense gradients only, or has a setting that it cannot apply to sparse
            ones; SparseAdam for what is no sparse table; clipping of values; ranks that cannot add up sparse
            gradients (NCCL).
    """
    names = {table: name for name, table in sparse_tables(model).items()}
    for part in optimizer.parts if isinstance(optimizer, SparseAndDense) else (optimizer,):
        _check(part, names)
    if not names:
        return
    first = f"{next(iter(names.values()))} has sparse gradients"
    if clips_values:
        raise UserError(f"{first}, whose values torch cannot clip: set trainer.gradient_clip_algorithm to norm")
    if not distributed.adds_sparse():
        raise UserError(
            f"{first}, which NCCL cannot add up over ranks (github.com/pytorch/pytorch/issues/22400): set sparse: "
            "false for its encoder, or let gloo do it (trainer.strategy: DDPStrategy, process_group_backend: gloo)"
        )


def _check(optimizer: Optimizer, names: dict[Tensor, str]) -> None:
    kind = type(optimizer).__name__
    for group in optimizer.param_groups:
        sparse = [names[parameter] for parameter in group["params"] if parameter in names]
        if isinstance(optimizer, SparseAdam) and len(sparse) < len(group["params"]):
            raise UserError(
                "SparseAdam takes sparse gradients alone, and not all that is to train has them: make it the sparse "
                "part of SparseAndDense, with an optimizer for the rest as its dense part"
            )
        if sparse and not isinstance(optimizer, TAKE_SPARSE):
            raise UserError(
                f"{sparse[0]} has sparse gradients, which {kind} does not take: use LazyAdam, or sparse: false for its "
                f"encoder ({len(sparse)} such tables), or make {kind} the dense part of SparseAndDense, beside "
                "SparseAdam or RowWiseAdagrad"
            )
        for refusing, setting in NOT_WITH_SPARSE:
            if sparse and isinstance(optimizer, refusing) and group[setting]:
                raise UserError(
                    f"{sparse[0]} has sparse gradients, with which {kind} takes no {setting}, found {group[setting]}: "
                    "set it to 0, or use LazyAdam or RowWiseAdagrad, which update and decay the rows that occur"
                )
