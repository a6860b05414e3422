"""Answers from a bundle as ``bench.py`` times them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.report import Row, Section, alternate, rates
from benchmarks.startup import children_clock
from dssm_lightning.api import load_data, load_untrained, make_retriever
from dssm_lightning.export.bundle import export_bundle
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.retrieval.retriever import Retriever

ROOT = Path(__file__).resolve().parents[2]
_PEAK = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"  # KiB


def bundle(config: str = "configs/emoji.yaml", num_queries: int = 1000, repeats: int = 5) -> Section:
    """A bundle of `configs/emoji.yaml`, with weights that are not trained, which costs the same.

    One query goes from raw text to ten hits, against the same model in torch. A thousand go at once, against the
    product of their embeddings with all candidates alone, which is the limit. A process that loads the
    bundle, and the command that answers one query, stand against a process that only imports torch.
    """
    with tempfile.TemporaryDirectory() as folder:
        in_torch, queries, weights = export_untrained(config, Path(folder, "bundle"), num_queries)
        served = Retriever.load(Path(folder, "bundle"))
        rows = [
            _one_by_one(served, in_torch, queries[:100], repeats),
            _at_once(served, queries, repeats),
            *_starts(Path(folder, "bundle"), queries[0], repeats),
        ]
        size = sum(path.stat().st_size for path in Path(folder, "bundle").rglob("*") if path.is_file())
    note = f"The bundle takes {size / 2**20:.1f} MiB, {size / weights:.2f} times its distinct weights."
    return Section("Answers from a bundle", rows, [note])


def export_untrained(config: str, folder: Path, num_queries: int) -> tuple[Retriever, list[str], int]:
    """Write a bundle of an untrained model; return the retriever in torch, texts of queries, and bytes of weights."""
    data, model = load_data([ROOT / config]), load_untrained([ROOT / config])
    data.cache_dir = folder.with_name("cache")
    model.build(data.data.schemas)
    retriever = make_retriever(model.eval(), data)
    export_bundle(model, data, retriever, folder, RunFacts("", {}, {}, {}, {}))
    (column,) = dict.fromkeys(feature.source_column for feature in data.schemas.query)
    texts = data.data.queries[column].to_list()
    weights = sum(each.nbytes for each in model.parameters())
    return retriever, (texts * (1 + num_queries // len(texts)))[:num_queries], weights


def _one_by_one(served: Retriever, in_torch: Retriever, queries: list[str], repeats: int) -> Row:
    assert [h.id for h in served.search(queries[0])] == [h.id for h in in_torch.search(queries[0])], "the same answers"
    sides = [partial(_answer, each, queries) for each in (served, in_torch)]
    ours, theirs = ([1e3 * each / len(queries) for each in seconds] for seconds in alternate(sides, repeats))
    return Row("one query at a time, the model in torch", "ms", ours, theirs)


def _answer(retriever: Retriever, queries: list[str]) -> None:
    for query in queries:
        retriever.search(query, k=10)


def _at_once(served: Retriever, queries: list[str], repeats: int) -> Row:
    embedded, corpus = served.encode_query(queries), served.corpus.embeddings
    sides = [partial(served.search_all, queries, 10), lambda: embedded @ corpus.T]
    ours, theirs = (rates(len(queries), each) for each in alternate(sides, repeats))
    return Row(f"{len(queries):,} queries at once, the product alone", "queries/s", ours, theirs, "the product: 1")


def _starts(folder: Path, query: str, repeats: int) -> list[Row]:
    load = f"from dssm_lightning import Retriever; Retriever.load({str(folder)!r})"
    command = ["-m", "dssm_lightning", "search", "--bundle", str(folder), "--query", query]
    words = [["-c", load], command, ["-c", "import torch"]]
    starts = [partial(_run, each) for each in words]
    loaded, answered, torch = alternate(starts, repeats, clock=children_clock)
    rows = [
        Row("a process that loads it, one that imports torch", "s of CPU", loaded, torch),
        Row("`search --bundle`, a process that imports torch", "s of CPU", answered, torch),
    ]
    if sys.platform == "linux":  # elsewhere a process does not know its own peak
        peaks = [[_peak(code)] for code in (load, "import torch")]
        rows.append(Row("peak memory after loading, after importing torch", "MiB", *peaks))
    return rows


def _run(words: list[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT, timeout=120)


def _peak(code: str) -> float:
    """MiB."""
    words = [sys.executable, "-c", f"{code}; {_PEAK}"]
    return int(subprocess.run(words, check=True, capture_output=True, cwd=ROOT, timeout=120).stdout) / 1024
