"""How ``bench.py`` measures: sides in turns, ratios turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """One comparison: what was measured in each turn, on our side and on the other."""

    what: str
    """Holds nothing that is measured, so that the rows of two runs can be matched."""
    unit: str
    """More is better of a rate, something per second; less of all else: seconds, milliseconds and MiB."""
    ours: list[float]
    theirs: list[float]
    limit: str = "–"
    """What bounds ours; ends with “: 1” where the other side is that limit."""

    @property
    def ratios(self) -> list[float]:
        """How many times better ours is, turn by turn."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [ours / theirs if "/s" in self.unit else theirs / ours for ours, theirs in pairs]


class SkippedError(Exception):
    """A benchmark lacks something that is no part of the package; the message says how to get it."""


class Section(NamedTuple):
    """What a benchmark found."""

    title: str
    rows: list[Row]
    notes: Sequence[str] = ()


def clock() -> float:
    """Seconds: with one thread those that this process computed, which others on the machine lengthen less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def alternate(
    sides: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = clock
) -> list[list[float]]:
    """Seconds of each side in each turn, A B A B …, after one turn to warm up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats + 1):
        for side, taken in zip(sides, seconds, strict=True):
            start = clock()
            side()
            if turn > 0:
                taken.append(clock() - start)
    return seconds


def rates(amount: float, seconds: list[float]) -> list[float]:
    """What was done in a second, turn by turn."""
    return [amount / each for each in seconds]
