"""Paired comparisons with what one would otherwise use, in one process tree: A B A B …

    python scripts/bench.py                      # all of them, as tables
    python scripts/bench.py hashing text_table   # some
    python scripts/bench.py --write              # all, into docs/benchmarks.md
    python scripts/bench.py hashing --write      # some, in place of their sections of that page
    python scripts/bench.py --compare            # all, against that page: exit status 1 if a ratio is 10 % worse
    python scripts/bench.py --accelerator gpu    # what a GPU makes of it: a section of its own

A benchmark whose rival is not installed is skipped, with the line that installs it; its section stays as it is.

To add one, write a function that returns a ``Section`` in a module of ``benchmarks/`` and name it in
:data:`ALL`; its docstring is printed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from benchmarks.batches import batches
from benchmarks.big_batches import big_batches
from benchmarks.bundles import bundle
from benchmarks.comparison import compare, no_longer_measured, written_with_other_threads
from benchmarks.deep_retrieval import deep_retrieval
from benchmarks.evaluation import evaluation
from benchmarks.gpu import gpu
from benchmarks.indexes import indexes
from benchmarks.large_corpus import large_corpus
from benchmarks.memory import memory
from benchmarks.own_tables import own_baselines, own_template
from benchmarks.page import markdown, with_sections, written_by
from benchmarks.pictures import pictures
from benchmarks.recommenders import recommenders
from benchmarks.report import Section, SkippedError
from benchmarks.search import search
from benchmarks.serving import serving
from benchmarks.startup import startup
from benchmarks.static_embedding import static_embedding
from benchmarks.step_profile import step_profile
from benchmarks.steps import lightning_step
from benchmarks.tables import large_table
from benchmarks.texts import hashing, text_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

ALL: list[Callable[..., Section]] = [
    hashing,
    text_table,
    large_table,
    batches,
    pictures,
    big_batches,
    evaluation,
    own_baselines,
    own_template,
    large_corpus,
    search,
    indexes,
    bundle,
    serving,
    deep_retrieval,
    lightning_step,
    step_profile,
    static_embedding,
    recommenders,
    memory,
    startup,
]
BENCHMARKS = {each.__name__: each for each in ALL}
GPU = "--accelerator gpu"
"""The name of the section that a GPU has."""
ORDER = [*BENCHMARKS, GPU]


def main(args: list[str] | None = None) -> None:
    """Run benchmarks; print what they found, write it, or compare it with what is written."""
    options = _options(args)
    words = sys.argv[1:] if args is None else args
    if pl.thread_pool_size() != options.threads:  # which is settled at import: start anew
        settings = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), str(options.threads))
        sys.exit(subprocess.run([sys.executable, __file__, *words], env=os.environ | settings).returncode)
    torch.set_num_threads(options.threads)
    written = written_by(shlex.join(["python", "scripts/bench.py", *words]), options.threads)
    whole = not options.names and options.accelerator == "cpu"
    measured: dict[str, str] = {}
    for name in _names(options):
        try:
            measured[name] = _measured(name, options.num_candidates, written)
        except SkippedError as skipped:
            print(f"skipped: {name}: {skipped}", flush=True)
            continue
        print(measured[name], flush=True)
        if options.write:  # each as soon as it is found: a run takes long
            page = PAGE.read_text(encoding="utf-8")
            obsolete = no_longer_measured(page, ORDER) if whole else []
            PAGE.write_text(with_sections(page, {name: measured[name]}, ORDER, obsolete), encoding="utf-8")
    if options.compare:
        sys.exit(_compared(measured, whole))


def _options(args: list[str] | None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu", help="gpu: its own section alone")
    parser.add_argument("--write", action="store_true", help="put what was found into docs/benchmarks.md")
    parser.add_argument("--compare", action="store_true", help="name ratios that are 10 %% worse than written there")
    parser.add_argument("--num-candidates", type=int, help="vectors of the benchmark indexes; name it alone")
    options = parser.parse_args(args)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.num_candidates is not None and options.names != ["indexes"]:
        parser.error("--num-candidates is an option of the benchmark indexes: name it alone")
    if options.write and options.compare:
        parser.error("--write replaces what --compare reads: first the one, then the other")
    if options.accelerator == "gpu":
        if options.names:
            parser.error("--accelerator gpu has a benchmark of its own: name none")
        if not torch.cuda.is_available():
            parser.error("--accelerator gpu: PyTorch finds no GPU here; without the option all runs on the CPU")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; at least one is needed")
    if options.compare:
        other = written_with_other_threads(PAGE.read_text(encoding="utf-8"), _names(options), options.threads)
        if other:
            parser.error(f"--threads is {options.threads}, but {', '.join(other)} was written with another number")
    return options


def _names(options: argparse.Namespace) -> list[str]:
    """The benchmarks to run."""
    return [GPU] if options.accelerator == "gpu" else options.names or list(BENCHMARKS)


def _measured(name: str, num_candidates: int | None, written: str) -> str:
    """Run a benchmark; return its section."""
    sizes = {} if num_candidates is None else {"num_candidates": num_candidates}
    benchmark = gpu if name == GPU else BENCHMARKS[name]
    return markdown(name, benchmark.__doc__ or "", benchmark(**sizes), written)


def _compared(measured: dict[str, str], whole: bool) -> int:
    """Print how the measured ratios differ from the written ones; return the exit status."""
    page = PAGE.read_text(encoding="utf-8")
    comparison = compare(page, measured)
    if whole:
        comparison.vanished.extend(no_longer_measured(page, ORDER))
    print(comparison)
    return int(bool(comparison.worse))


if __name__ == "__main__":
    main()
