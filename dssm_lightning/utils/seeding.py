"""Random numbers that depend on (seed, epoch, step, process) only, never on earlier draws.

A run that is resumed at step k therefore draws the same numbers as an uninterrupted run at step k.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Hash a sequence of integers to 63 bits with splitmix64; equal on every machine and Python version."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


class Counter(NamedTuple):
    """The place in a run at which random numbers are drawn.

    Example:
        >>> import torch
        >>> at_step_3 = Counter(seed=1, epoch=0, step=3)
        >>> first, again = (torch.rand(2, generator=at_step_3.generator("negatives")) for _ in range(2))
        >>> torch.equal(first, again)
        True
        >>> torch.equal(first, torch.rand(2, generator=at_step_3.generator("dropout")))
        False
    """

    seed: int
    epoch: int = 0
    step: int = 0
    process_rank: int = 0

    def generator(self, purpose: str) -> torch.Generator:
        """Return a new generator. Draws for different purposes at the same place are independent."""
        import torch

        return torch.Generator().manual_seed(mix(*self, *purpose.encode()))


def run_seed() -> int:
    """Return the seed that Lightning's ``seed_everything`` stored in the environment, or 0."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of ``device``."""
    import torch

    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times as long
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
