"""docs/benchmarks.md as text: sections written, replaced by name, and read again."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from statistics import median
from typing import NamedTuple

from benchmarks.report import Section

HEAD = """# Benchmarks

Each section shows the date and the command with which it was written. The two sides take turns in one process tree, \
A B A B …, after one turn each to warm up. Ours and theirs are medians; the ratio, how many times better ours is, is \
the median of the ratios turn by turn. With one thread, seconds are those of the processor: others lengthen them less. \
`limit` names what bounds ours: with “: 1” the other side is that limit, so that a ratio of 1 reaches it, and “–” \
stands where none is named.

`python scripts/bench.py --compare` measures again and names each ratio that is more than 10 % worse than here.
"""
_SECTION = re.compile(r"^## .*?\(`([^`]+)`\)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_TABLE_ROW = re.compile(r"^\| (.+) \| (.+) \| \S+ \| \S+ \| \*\*(\S+)\*\* \(\S+ – \S+\) \| .+ \|$", re.MULTILINE)
_THREADS = re.compile(r"^Written on \S+ by `[^`]* --threads (\d+)[^`]*`", re.MULTILINE)


class RowKey(NamedTuple):
    """What a row of a table is found by in another run; nothing in it is measured."""

    what: str
    unit: str


def markdown(name: str, about: str, section: Section, written: str = "") -> str:
    """A section of docs/benchmarks.md.

    Args:
        name: of the benchmark.
        about: what is compared, as the benchmark's docstring has it.
        section: what it found.
        written: a first paragraph, :func:`written_by`.
    """
    paragraphs = [" ".join(each.split()) for each in (written, *about.split("\n\n")) if each]
    table = ["| comparison | unit | ours | theirs | ratio (min – max) | limit |", "|---|---|---|---|---|---|"]
    for row in section.rows:
        ours, theirs, ratio = (shown(median(each)) for each in (row.ours, row.theirs, row.ratios))
        low, high = shown(min(row.ratios)), shown(max(row.ratios))
        table.append(f"| {row.what} | {row.unit} | {ours} | {theirs} | **{ratio}** ({low} – {high}) | {row.limit} |")
    return "\n\n".join([f"## {section.title} (`{name}`)", *paragraphs, "\n".join(table), *section.notes]) + "\n"


def written_by(command: str, threads: int) -> str:
    """The paragraph that says when, how and on what a section was measured, and how busy the machine was before."""
    used = "one thread" if threads == 1 else f"{threads} threads"
    load = f", load average {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return f"Written on {date.today()} by `{command}`, with {used} on a machine of {os.cpu_count()} cores{load}."


def sections_of(page: str) -> dict[str, str]:
    """The sections of a page by the name of their benchmark, in the page's order."""
    return {found[1]: found[0].rstrip("\n") + "\n" for found in _SECTION.finditer(page)}


def with_sections(page: str, sections: Mapping[str, str], order: Sequence[str], without: Sequence[str] = ()) -> str:
    """The page with these sections in place of those of the same names; all others stay as they are.

    Args:
        page: docs/benchmarks.md.
        sections: texts of :func:`markdown` by name.
        order: all names in the order of the page; sections of other names go to its end.
        without: names of sections to leave out.
    """
    places = {name: place for place, name in enumerate(order)}
    chosen = sections_of(page) | dict(sections)
    names = sorted((name for name in chosen if name not in without), key=lambda name: places.get(name, len(places)))
    return "\n".join([HEAD, *(chosen[name] for name in names)])


def ratios_of(section: str) -> dict[RowKey, float]:
    """The ratios of a section's table.

    Raises:
        ValueError: no row of the table can be read, or two have the same name and unit.
    """
    rows = [(RowKey(what, unit), float(ratio.replace(",", ""))) for what, unit, ratio in _TABLE_ROW.findall(section)]
    title = section.partition("\n")[0]
    if not rows:
        raise ValueError(f"{title}: no row of its table has a comparison, unit, ours, theirs, ratio and limit")
    if len(dict(rows)) < len(rows):
        raise ValueError(f"{title}: two rows have the same comparison and unit")
    return dict(rows)


def threads_of(section: str) -> int:
    """The number of threads that a section was written with."""
    found = _THREADS.search(section)
    return int(found[1]) if found else 1


def shown(value: float) -> str:
    """Three digits."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
