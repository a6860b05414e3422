"""Ratios of this run beside those that docs/benchmarks.md has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.page import RowKey, ratios_of, sections_of, shown, threads_of

WORSE = 0.1
"""A ratio may fall by this share of the written one."""


@dataclass
class Comparison:
    """What became of the rows that were written; each item is a line of text."""

    worse: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    compared: int = 0

    def __str__(self) -> str:
        kinds = (("worse", self.worse), ("new", self.new), ("vanished", self.vanished))
        lines = [f"{kind}: {line}" for kind, found in kinds for line in found]
        total = f"{self.compared} rows compared; {len(self.worse)} more than {WORSE:.0%} worse than written."
        return "\n".join([*lines, total])


def compare(page: str, measured: Mapping[str, str]) -> Comparison:
    """Compare sections of this run with those of the same names on the page; only ratios count.

    Args:
        page: docs/benchmarks.md.
        measured: sections by name, as :func:`benchmarks.page.markdown` makes them.
    """
    written, result = sections_of(page), Comparison()
    for name, section in measured.items():
        before = ratios_of(written[name]) if name in written else {}
        now = ratios_of(section)
        result.new.extend(_row(name, key) for key in now if key not in before)
        result.vanished.extend(_row(name, key) for key in before if key not in now)
        both = [key for key in now if key in before]
        result.compared += len(both)
        for key in both:
            lost = 1 - now[key] / before[key]
            if lost > WORSE:
                change = f"{shown(before[key])} as written, {shown(now[key])} now, {lost:.0%} worse"
                result.worse.append(f"{_row(name, key)}: {change}")
    return result


def written_with_other_threads(page: str, names: list[str], threads: int) -> list[str]:
    """Those of the named sections that were written with another number of threads."""
    written = sections_of(page)
    return [name for name in names if name in written and threads_of(written[name]) != threads]


def no_longer_measured(page: str, known: list[str]) -> list[str]:
    """Names of sections that no benchmark writes any more."""
    return [name for name in sections_of(page) if name not in known]


def _row(name: str, key: RowKey) -> str:
    return f"{name}, {key.what} ({key.unit})"
