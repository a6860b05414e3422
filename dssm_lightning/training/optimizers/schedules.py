"""Learning rates on the way, and what a resumed optimizer makes of those that are asked for."""

from __future__ import annotations

from lightning.pytorch.cli import LRSchedulerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR

from dssm_lightning.utils.errors import UserError


class WarmUp(SequentialLR):
    r"""The learning rate rises to the optimizer's within the first steps, then follows another schedule.

    At step t < n it is the optimizer's times :math:`s + (1 - s)\, t / n`. From step n on the other schedule counts
    from 0. Set ``lr_scheduler_interval: step``: all numbers, those of the other schedule too, are then optimizer steps.

    Args:
        optimizer: whose learning rates rise.
        steps: n, how many steps it takes.
        then: optimizer -> the schedule after it; None = the optimizer's learning rate.
        start: s, the part of it that the first step has.

    Source: Goyal et al., arXiv 1706.02677 (gradual warm-up).

    Raises:
        ValueError: fewer than one step; a start outside (0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, steps: int, then: LRSchedulerCallable | None = None, start: float = 0.01
    ) -> None:
        if steps < 1:
            raise UserError(f"WarmUp: steps is {steps}; it must be at least 1")
        if not 0 < start <= 1:
            raise UserError(f"WarmUp: start is {start}; it must be above 0 and at most 1")
        rise = LinearLR(optimizer, start_factor=start, total_iters=steps)
        after = ConstantLR(optimizer, factor=1.0) if then is None else then(optimizer)
        super().__init__(optimizer, [rise, after], milestones=[steps])
