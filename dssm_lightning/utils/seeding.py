"""Randomness that is a function of where we are: (seed, epoch, step, process), never of what was drawn before.

A run that is resumed at step k then draws what the uninterrupted run drew at step k.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """A 63-bit hash of integers (splitmix64 over the sequence); equal on every machine and Python version."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


class Counter(NamedTuple):
    """Where in a run a draw happens."""

    seed: int
    epoch: int = 0
    step: int = 0
    process_rank: int = 0

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh generator; draws for different purposes at the same place are independent."""
        return torch.Generator().manual_seed(mix(*self, *purpose.encode()))


def run_seed() -> int:
    """The seed of this run: Lightning's ``seed_everything`` leaves it in the environment; 0 without it."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed what torch draws from, on the CPU and on this device."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes a hundred times as long
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
