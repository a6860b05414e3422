"""The start of a process as ``bench.py`` times it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.report import Row, Section, alternate

ROOT = Path(__file__).resolve().parents[2]


def startup(
    base: str = "lightning.pytorch.cli",
    ours: str = "dssm_lightning.cli.lightning_cli",
    program: str = "dssm_lightning",
    repeats: int = 5,
) -> Section:
    """Processor time of fresh processes that import Lightning's own command line, with this package or without.

    The module is the one that `fit` imports; `--help` imports neither. A start only computes, on one core: on a machine
    with nothing else to do this is how long it takes.
    """
    arguments = (["-c", f"import {base}, {ours}"], ["-c", f"import {base}"], ["-m", program, "--help"])
    starts = [
        partial(subprocess.run, [sys.executable, *each], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        for each in arguments
    ]
    both, alone, shown = alternate(starts, repeats, clock=children_clock)
    added = [a - b for a, b in zip(both, alone, strict=True)]
    note = f"`{ours}` adds {median(added):.2f} s ({min(added):.2f} – {max(added):.2f}) to the import of `{base}`."
    limit = f"the import of `{base}`: 1"
    rows = [
        Row(f"import of `{base}`, with `{ours}`", "s of CPU", both, alone, limit),
        Row(f"import of `{base}`, `{program} --help`", "s of CPU", shown, alone, limit),
    ]
    return Section("Start-up", rows, [note])


def children_clock() -> float:
    times = os.times()
    return times.children_user + times.children_system
