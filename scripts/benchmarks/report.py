"""How ``bench.py`` measures and tells: sides in turns, ratios turn by turn, tables in Markdown."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import date
from statistics import median
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """One comparison: what was measured in each turn, on our side and on the other."""

    what: str
    unit: str
    """Of seconds, milliseconds and MiB less is better; all else are rates."""
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times better ours is, turn by turn."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [theirs / ours if self.unit.startswith(("s", "ms", "MiB")) else ours / theirs for ours, theirs in pairs]


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


def head(threads: int) -> str:
    """How docs/benchmarks.md begins."""
    used = "one thread" if threads == 1 else f"{threads} threads"
    return (
        "# Benchmarks\n\n"
        f"Written by `python scripts/bench.py --write` on {date.today()}, with {used} on a machine of {os.cpu_count()} "
        "cores that had other work as well. The two sides take turns in one process tree, A B A B …, after one turn "
        "each to warm up. Ours and theirs are medians; the ratio, how many times better ours is, is the median of the "
        "ratios turn by turn. With one thread, seconds are those of the processor: others lengthen them less.\n"
    )


def markdown(name: str, about: str, section: Section) -> str:
    """A section of docs/benchmarks.md.

    Args:
        name: of the benchmark.
        about: what is compared, as the benchmark's docstring has it.
        section: what it found.
    """
    paragraphs = [" ".join(each.split()) for each in about.split("\n\n")]
    table = ["| comparison | unit | ours | theirs | ratio (min – max) |", "|---|---|---|---|---|"]
    for row in section.rows:
        ours, theirs, ratio = (_shown(median(each)) for each in (row.ours, row.theirs, row.ratios))
        low, high = _shown(min(row.ratios)), _shown(max(row.ratios))
        table.append(f"| {row.what} | {row.unit} | {ours} | {theirs} | **{ratio}** ({low} – {high}) |")
    return "\n\n".join([f"## {section.title} (`{name}`)", *paragraphs, "\n".join(table), *section.notes]) + "\n"


def section_of(page: str, title: str) -> list[str]:
    """The section of that title, if the page has one."""
    return re.findall(rf"^## {re.escape(title)} \(.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)


def with_section(page: str, section: str) -> str:
    """The page with this section in the place of the one of its title, or at its end."""
    title = section.removeprefix("## ").partition(" (`")[0]
    for old in section_of(page, title):
        return page.replace(old, section + ("\n" if old.endswith("\n\n") else ""))
    return f"{page}\n{section}"


def _shown(value: float) -> str:
    """Three digits."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
