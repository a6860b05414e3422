"""Schedules of the learning rate."""

from __future__ import annotations

from lightning.pytorch.cli import LRSchedulerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

from dssm_lightning.utils.errors import UserError, require_whole


class WarmUp(SequentialLR):
    r"""Raise the learning rate linearly during the first steps, then follow another schedule.

    At step t < n the learning rate is the optimizer's times :math:`s + (1 - s)\, t / n`. From step n on, the other
    schedule counts from 0. Set ``lr_scheduler_interval: step``: all numbers, also those of the other schedule, are then
    optimizer steps.

    Args:
        optimizer: the optimizer whose learning rates are scheduled.
        steps: n, the number of steps of the rise.
        then: optimizer -> the schedule after the rise; None = the optimizer's constant learning rate.
        start: s, the fraction of the learning rate at the first step.

    Source: Goyal et al., arXiv 1706.02677 (gradual warm-up).

    Raises:
        UserError: ``steps`` is below 1; ``start`` is outside (0, 1].

    Example:
        >>> import torch
        >>> from dssm_lightning.training.optimizers.schedules import WarmUp
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> schedule = WarmUp(optimizer, steps=2, start=0.5)
        >>> for _ in range(4):
        ...     print(schedule.get_last_lr())
        ...     optimizer.step()
        ...     schedule.step()
        [0.5]
        [0.75]
        [1.0]
        [1.0]
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, then: LRSchedulerCallable | None = None, start: float = 0.01
    ) -> None:
        require_whole("WarmUp", "steps", steps)
        if not 0 < start <= 1:
            raise UserError(f"WarmUp: start is {start}; it must be above 0 and at most 1")
        rise = LinearLR(optimizer, start_factor=start, total_iters=steps)
        after = ConstantLR(optimizer, factor=1.0) if then is None else then(optimizer)
        super().__init__(optimizer, [rise, after], milestones=[steps])
