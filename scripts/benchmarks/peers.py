"""Peers of the field as other sides: programs of an interpreter that has them, in turns with a fit of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks.report import SkippedError

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "BENCH_PEERS_PYTHON"
"""Environment variable: an interpreter that has the extra ``bench-peers``; unset = this one."""
OURS = """
import json, sys, time
import lightning.pytorch.cli, dssm_lightning.cli.lightning_cli
from benchmarks.epoch_ends import EpochEnds
from dssm_lightning.cli.main import main
start = time.process_time()
cli = main([*sys.argv[1:], "--trainer.callbacks+", "benchmarks.epoch_ends.EpochEnds"])
[ends] = [each.ends for each in cli.trainer.callbacks if isinstance(each, EpochEnds)]
print(json.dumps({"seconds": time.process_time() - start, "steps": cli.trainer.global_step, "ends": ends}))
"""


class Run(NamedTuple):
    """What a process took."""

    process: float
    """Seconds of the processor for the whole process, imports included."""
    found: dict[str, Any]
    """What it printed: ``seconds`` of the processor without imports, and others of the program."""

    @property
    def epoch(self) -> float:
        """Seconds of an epoch with all that is done between epochs, where it printed the ``ends`` of each: the median.

        The first epoch does not count.
        """
        ends = self.found["ends"]
        return median(b - a for a, b in pairwise(ends))


def peer_python(modules: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Return the interpreter that has these modules, and what they need.

    Raises:
        SkippedError: it has not.
    """
    python = os.environ.get(VARIABLE) or sys.executable
    code = f"import importlib.util as u; raise SystemExit(not all(u.find_spec(m) for m in {list(modules)!r}))"
    if subprocess.run([python, "-c", code], env=os.environ | (environment or {})).returncode:
        raise SkippedError(
            f"{python} has no {' or no '.join(modules)}; python -m venv peers && peers/bin/pip install "
            f"'dssm-lightning[bench-peers]' && export {VARIABLE}=$PWD/peers/bin/python"
        )
    return python


def fitted(words: Sequence[str], folder: Path) -> Run:
    """Fit by the command line in a new folder; its cache is new as well."""
    folder.mkdir(parents=True)
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    return _run([sys.executable, "-c", OURS, "fit", *words], folder, {"PYTHONPATH": path})


def peer(
    python: str, program: str, words: Sequence[str], folder: Path, environment: dict[str, str] | None = None
) -> Run:
    """Run a program of this folder by the peers' interpreter, in a new folder."""
    folder.mkdir(parents=True)
    return _run([python, str(Path(__file__).with_name(program)), *words], folder, environment or {})


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> Run:
    threads = str(torch.get_num_threads())
    settings = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), threads)
    before = _children()
    done = subprocess.run(command, cwd=folder, env=os.environ | settings | environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Run(_children() - before, json.loads(done.stdout.splitlines()[-1]))


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system
