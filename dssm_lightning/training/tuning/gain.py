"""How much a search has gained, and how much of it is chance: the best of many trials is partly the luckiest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.seeding import Counter

HALVES = 200
"""How often the queries are cut into two halves."""


class Gain(NamedTuple):
    """The best trial against the config's own settings, on the same validation queries.

    Example:
        >>> Gain(0.03, 0.01, 0.05, expected=0.005).within_chance
        True
    """

    difference: float
    low: float
    """Lower end of its 95 % interval, by the paired bootstrap over queries."""
    high: float
    expected: float
    """The gain on queries that did not choose the trial: the mean over halves of the queries."""

    @property
    def within_chance(self) -> bool:
        """Whether the interval, moved by what the choice itself has added, reaches down to no gain."""
        return self.low - max(0.0, self.difference - self.expected) <= 0


def measure_gain(rows: Mapping[int, Tensor], queries: Tensor, own: int, best: int, mode: str = "max") -> Gain:
    """Return the gain of the best trial.

    The gain on the queries by which a trial was chosen is too high. So the queries are cut into halves at random: one
    half chooses among all trials, and the gain of its choice is measured on the other half.

    Args:
        rows: (R,) the metric of each row, by trial; NaN where a row does not count.
        queries: (R,) the query of each row.
        own: the trial of the config's own settings.
        best: the trial that is best on all queries.
        mode: whether higher or lower is better.

    Example:
        >>> rows = {0: torch.zeros(100), 1: torch.ones(100)}
        >>> measure_gain(rows, torch.arange(100), own=0, best=1)
        Gain(difference=1.0, low=1.0, high=1.0, expected=1.0)
    """
    sign = 1.0 if mode == "max" else -1.0
    numbers = sorted(rows)
    values = torch.stack([sign * rows[number].double() for number in numbers], dim=1)  # (R, M)
    values = values[~values.isnan().any(1)]
    queries = queries[~torch.stack([rows[number] for number in numbers]).isnan().any(0)]
    place, base = numbers.index(best), numbers.index(own)
    found = bootstrap.compare(values[:, base : base + 1], values[:, place : place + 1], queries)
    low, high = float(found.low), float(found.high)
    return Gain(float(found.b - found.a), low, high, _expected(values, queries, base))


def _expected(values: Tensor, queries: Tensor, base: int) -> float:
    """Return the mean gain on one half of what the other half chooses; NaN below two queries."""
    known, owner = torch.unique(queries, return_inverse=True)
    sums = values.new_zeros(len(known), values.shape[1]).index_add(0, owner, values)
    sizes = torch.bincount(owner, minlength=len(known)).double()
    if len(known) < 2:
        return float("nan")
    generator, gains = Counter(bootstrap.SEED).generator("halves"), []
    for _ in range(HALVES):
        order = torch.randperm(len(known), generator=generator)
        half, other = order[: len(known) // 2], order[len(known) // 2 :]
        choice = int((sums[half].sum(0) / sizes[half].sum()).argmax())
        means = sums[other].sum(0) / sizes[other].sum()
        gains.append(float(means[choice] - means[base]))
    return sum(gains) / len(gains)


def rows_file(folder: Path, number: int) -> Path:
    """Return where the rows of a trial lie."""
    return folder / f"rows-{number}.npy"


def write_rows(folder: Path, number: int, rows: tuple[Tensor, Tensor]) -> None:
    """Write the queries and the metric of a trial's rows."""
    with atomic_write(rows_file(folder, number)) as temporary, temporary.open("wb") as file:
        np.save(file, torch.stack([each.double() for each in rows]).numpy())


def read_rows(folder: Path, numbers: list[int]) -> tuple[dict[int, Tensor], Tensor] | None:
    """Return the metric of each row by trial, and the queries; None if the trials do not have the same rows."""
    found: dict[int, Tensor] = {}
    queries: Tensor | None = None
    for number in numbers:
        path = rows_file(folder, number)
        if not path.is_file():
            continue
        whose, values = torch.from_numpy(np.load(path)).unbind(0)
        if queries is not None and not torch.equal(whose, queries):
            return None
        queries, found[number] = whose, values
    return None if queries is None else (found, queries.long())
