"""Paired comparisons with what one would otherwise use, in one process tree: A B A B …

    python scripts/bench.py                      # all of them, as tables
    python scripts/bench.py hashing text_table   # some
    python scripts/bench.py --write              # all, into docs/benchmarks.md

To add one, write a function that returns a ``Section`` and name it in :data:`BENCHMARKS`; its docstring is printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import bench_rivals as rivals
import polars as pl
import torch
import torch.nn.functional as F
import yaml
from bench_deep_retrieval import deep_retrieval
from bench_inputs import dense_data, shipped_lines
from bench_pictures import pictures
from bench_report import Row, Section, alternate, head, markdown, rates
from bench_training import Training, step_limit
from torch import Tensor

from dssm_lightning.batch import EvaluationBatch, Ragged
from dssm_lightning.counter import Counter
from dssm_lightning.evaluation import SEEN_KEPT, Evaluation, resolve_ks
from dssm_lightning.features import HashedTrigrams
from dssm_lightning.settings import load_data, load_untrained

ROOT = Path(__file__).resolve().parents[1]
TLDR = ROOT / "configs" / "tldr.yaml"


# -- hashing -----------------------------------------------------------------------------------------------------------


def hashing(num_lines: int = 74_067, repeats: int = 5) -> Section:
    """`HashedTrigrams` against scikit-learn's `HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3))`.

    English lines join a text of tldr-pages and the name of an emoji. The others join three labels or keywords of emoji
    without a Latin letter: in Russian and Ukrainian, or in Bengali, Hindi, Thai, Japanese, Korean and Chinese. Only
    ours brings letters into one Unicode form (NFKC), most of its time where they are not in it already. The two cut
    words at punctuation differently; the notes say how many trigrams each finds.
    """
    ours, theirs = HashedTrigrams(name="text", num_buckets=1 << 20), rivals.trigram_vectorizer()
    counting = rivals.trigram_vectorizer(norm=None, alternate_sign=False)
    rows, notes = [], []
    for kind, texts in shipped_lines(num_lines).items():
        megabytes, listed = sum(texts.str.len_bytes()) / 1e6, texts.to_list()
        seconds = alternate([partial(ours.encode, texts), partial(theirs.transform, listed)], repeats)
        what = f"{kind}: {num_lines:,} lines, {megabytes:.1f} MB"
        rows.append(Row(what, "MB/s", *(rates(megabytes, each) for each in seconds)))
        mine, others = len(ours.encode(texts).values), counting.transform(listed).sum()
        notes.append(f"{kind}: {mine / num_lines:.1f} trigrams a line, theirs {others / num_lines:.1f}.")
    return Section("Letter trigrams", rows, notes)


# -- text_table --------------------------------------------------------------------------------------------------------


def text_table(batch_size: int = 1024, steps: int = 3, repeats: int = 9) -> Section:
    """`configs/tldr.yaml` as it is, against the same module with `nn.EmbeddingBag` text tables and Adam for all.

    A step is a whole one (batch assembly, forward, backward, optimizer), without Lightning's share. All sides begin
    with the same weights and see the same batches.
    """
    with TemporaryDirectory() as folder:
        data = load_data([str(TLDR)])
        data.cache_dir = Path(folder)
        section = yaml.safe_load(TLDR.read_text(encoding="utf-8"))["model"]
        models = [load_untrained([str(TLDR)])]
        for fused in (None, True):
            path = Path(folder, "rival.yaml")
            path.write_text(yaml.safe_dump({"model": rivals.with_dense_tables(section, fused)}), encoding="utf-8")
            models.append(load_untrained([str(path)]))
        for model in models:
            model.build(data.schemas)
            model.load_state_dict(models[0].state_dict())
        sides = [Training(model, data, batch_size, steps) for model in models]
        ours, *others = alternate(sides, repeats)
        limit = step_limit(sides[0], median(ours) / steps)
    assert max(abs(side.losses[0] - sides[0].losses[0]) for side in sides) < 1e-5, "the sides compute the same loss"
    pairs, rivals_named = steps * batch_size, zip(("Adam", "Adam(fused=True)"), others, strict=True)
    rows = [
        Row(f"nn.EmbeddingBag, {name}", "pairs/s", rates(pairs, ours), rates(pairs, theirs))
        for name, theirs in rivals_named
    ]
    return Section("Training with text tables", rows, [limit])


# -- batches -----------------------------------------------------------------------------------------------------------


def batches(num_events: int = 200_000, batch_size: int = 1024, num_batches: int = 100, repeats: int = 5) -> Section:
    """Batches by indexing whole columns, against a `Dataset` of rows with torch's `DataLoader` and `default_collate`.

    Three dense columns on each side: an id, a category, a number. Ours also makes the candidates distinct, counts them,
    and finds what each query is known to like.
    """
    with TemporaryDirectory() as folder:
        data = dense_data(num_events, folder)
        rows = data.assembler.rows
        order = rows[torch.randperm(len(rows), generator=Counter(0).generator("shuffle"))][: num_batches * batch_size]
        parts = torch.split(order, batch_size)
        loader = rivals.row_loader(data.data, order.tolist(), batch_size)
        batch, collated = data.assembler.batch(parts[0], Counter(0)), next(iter(loader))
        for name, column in (batch.query | batch.candidates.features).items():
            assert isinstance(column, Tensor)
            mine = column if name in batch.query else column[batch.target]
            assert torch.equal(mine, collated[name]), f"the sides batch the same {name}"

        def ours() -> None:
            for part in parts:
                data.assembler.batch(part, Counter(0))

        def theirs() -> None:
            for _ in loader:
                pass

        seconds = alternate([ours, theirs], repeats)
    row = Row(f"batches of {batch_size:,} rows", "rows/s", *(rates(len(order), each) for each in seconds))
    return Section("Batch assembly", [row])


# -- evaluation --------------------------------------------------------------------------------------------------------


def evaluation(
    num_events: int = 20_000, num_candidates: int = 1_682, dim: int = 64, rival_events: int = 200, repeats: int = 5
) -> Section:
    """Scores, ranks and 27 metrics of random embeddings, against torchmetrics' retrieval metrics fed with every pair.

    Each event has one relevant candidate. Ours gives each metric twice: with twenty seen candidates masked, and kept.
    """
    ks, generator = resolve_ks(None, num_candidates), torch.Generator().manual_seed(0)
    query = F.normalize(torch.randn(num_events, dim, generator=generator), dim=1)
    corpus = F.normalize(torch.randn(num_candidates, dim, generator=generator), dim=1)
    relevant = torch.randint(num_candidates, (num_events,), generator=generator)
    seen = (relevant[:, None] + torch.arange(1, min(21, num_candidates))) % num_candidates

    def ours(num: int = num_events) -> dict[str, float]:
        metrics = Evaluation(ks, labelled=False)
        for rows in torch.split(torch.arange(num), 1024):
            place = torch.arange(len(rows) + 1)
            wanted, masked = Ragged(relevant[rows], place), Ragged(seen[rows].flatten(), place * seen.shape[1])
            metrics.update(query[rows] @ corpus.T, EvaluationBatch({}, rows, wanted, masked, None))
        return metrics.compute()

    def theirs() -> dict[str, float]:
        return rivals.every_pair_metrics((1 + query[:rival_events] @ corpus.T) / 2, relevant[:rival_events], ks)

    found = ours(rival_events)
    for name, value in theirs().items():
        assert abs(found[SEEN_KEPT + name] - value) < 1e-5, f"the sides compute the same {name}"
    seconds = alternate([ours, theirs], repeats)
    rows = [
        Row(
            f"{num_events:,} events × {num_candidates:,} candidates × {dim}",
            "events/s",
            rates(num_events, seconds[0]),
            rates(rival_events, seconds[1]),
        )
    ]
    note = (
        f"torchmetrics, which takes its queries one by one, ranked {rival_events:,} of the events; its rate is theirs."
    )
    return Section("Evaluation", rows, [note])


# -- startup -----------------------------------------------------------------------------------------------------------


def startup(
    base: str = "lightning.pytorch.cli",
    ours: str = "dssm_lightning.cli",
    program: str = "dssm_lightning",
    repeats: int = 5,
) -> Section:
    """Processor time of fresh processes that import Lightning's own command line, with this package or without.

    A start only computes, on one core: on a machine with nothing else to do this is how long it takes.
    """
    arguments = (["-c", f"import {base}, {ours}"], ["-c", f"import {base}"], ["-m", program, "--help"])
    starts = [
        partial(subprocess.run, [sys.executable, *each], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        for each in arguments
    ]
    both, alone, shown = alternate(starts, repeats, clock=_children_clock)
    added = [a - b for a, b in zip(both, alone, strict=True)]
    note = f"`{ours}` adds {median(added):.2f} s ({min(added):.2f} – {max(added):.2f}) to the import of `{base}`."
    rows = [
        Row(f"import of `{base}`, with `{ours}`", "s of CPU", both, alone),
        Row(f"import of `{base}`, `{program} --help`", "s of CPU", shown, alone),
    ]
    return Section("Start-up", rows, [note])


def _children_clock() -> float:
    times = os.times()
    return times.children_user + times.children_system


# -- all ---------------------------------------------------------------------------------------------------------------

BENCHMARKS: dict[str, Callable[[], Section]] = {
    each.__name__: each for each in (hashing, text_table, batches, pictures, evaluation, deep_retrieval, startup)
}


def main(args: list[str] | None = None) -> None:
    """Run benchmarks; print what they found, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(args)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.write and options.names:
        parser.error("--write makes the whole page: name no benchmark")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; at least one is needed")
    if pl.thread_pool_size() != options.threads:  # which is settled at import: start anew
        settings = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), str(options.threads))
        command = [sys.executable, __file__, *(sys.argv[1:] if args is None else args)]
        sys.exit(subprocess.run(command, env=os.environ | settings).returncode)
    torch.set_num_threads(options.threads)
    parts = [head(options.threads)]
    for name in options.names or BENCHMARKS:
        parts.append(markdown(name, BENCHMARKS[name].__doc__ or "", BENCHMARKS[name]()))
        print(parts[-1], flush=True)
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
