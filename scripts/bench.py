"""Paired comparisons with what one would otherwise use, in one process tree: A B A B …

    python scripts/bench.py                      # all of them, as tables
    python scripts/bench.py hashing text_table   # some
    python scripts/bench.py --write              # all, into docs/benchmarks.md
    python scripts/bench.py --accelerator gpu    # what a GPU makes of it; with --write a section of that page

To add one, write a function that returns a ``Section`` in a module of ``benchmarks/`` and name it in
:data:`ALL`; its docstring is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from benchmarks.batches import batches
from benchmarks.big_batches import big_batches
from benchmarks.bundles import bundle
from benchmarks.deep_retrieval import deep_retrieval
from benchmarks.evaluation import evaluation
from benchmarks.gpu import TITLE, gpu
from benchmarks.indexes import indexes
from benchmarks.large_corpus import large_corpus
from benchmarks.own_tables import own_baselines, own_template
from benchmarks.pictures import pictures
from benchmarks.report import Section, head, markdown, section_of, with_section
from benchmarks.search import search
from benchmarks.serving import serving
from benchmarks.startup import startup
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
    startup,
]
BENCHMARKS = {each.__name__: each for each in ALL}


def main(args: list[str] | None = None) -> None:
    """Run benchmarks; print what they found, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu", help="gpu: its own section alone")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--num-candidates", type=int, help="vectors of the benchmark indexes; name it alone")
    options = parser.parse_args(args)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.num_candidates is not None and options.names != ["indexes"]:
        parser.error("--num-candidates is an option of the benchmark indexes: name it alone")
    if options.write and options.names:
        parser.error("--write makes the whole page: name no benchmark")
    if options.accelerator == "gpu":
        if options.names:
            parser.error("--accelerator gpu has a benchmark of its own: name none")
        if not torch.cuda.is_available():
            parser.error("--accelerator gpu: PyTorch finds no GPU here; without the option all runs on the CPU")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; at least one is needed")
    if pl.thread_pool_size() != options.threads:  # which is settled at import: start anew
        settings = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), str(options.threads))
        command = [sys.executable, __file__, *(sys.argv[1:] if args is None else args)]
        sys.exit(subprocess.run(command, env=os.environ | settings).returncode)
    torch.set_num_threads(options.threads)
    if options.accelerator == "gpu":
        found = markdown("--accelerator gpu", gpu.__doc__ or "", gpu())
        print(found, flush=True)
        if options.write:
            PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
        return
    parts = [head(options.threads)]
    sizes = {} if options.num_candidates is None else {"num_candidates": options.num_candidates}
    for name in options.names or BENCHMARKS:
        parts.append(markdown(name, BENCHMARKS[name].__doc__ or "", BENCHMARKS[name](**sizes)))
        print(parts[-1], flush=True)
    if options.write:
        kept = section_of(PAGE.read_text(encoding="utf-8"), TITLE)  # of another machine
        PAGE.write_text("\n".join([*parts, *kept]), encoding="utf-8")


if __name__ == "__main__":
    main()
