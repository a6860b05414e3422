"""A text model of one table as ``bench.py`` times it: a whole fit, against sentence-transformers' static embeddings."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from benchmarks.page import shown
from benchmarks.peers import Run, fitted, peer, peer_python
from benchmarks.report import Row, Section, SkippedError, rates
from benchmarks.training import products_seconds
from dssm_lightning.data.sources import Tldr

WIDTH = 300
LIMIT = "named table rows moved at memory speed, products at GEMM speed"


def static_embedding(epochs: int = 12, batch_size: int = 1024, repeats: int = 3, num_pairs: int = 1_000_000) -> Section:
    """`python -m dssm_lightning fit` of a text model against sentence-transformers' Trainer on the same pairs.

    Both encode a text as the mean of its tokens' rows in one table of 30,522 × 300, by the tokenizer of
    `DSSM_DATA/tokenizer`, and train it by an in-batch softmax over cosines × 20. Ours has `Tokens` features and
    `LazyAdam`; theirs is `StaticEmbedding` with `MultipleNegativesRankingLoss` and its usual optimizer. The pairs are
    all of tldr-pages.

    Counted is the processor time of whole fits of 12 epochs: tokenizing, ours with its cache, checkpoints after each
    epoch and loggers. There is no validation. Ours masks other positives of a query; theirs does not.
    """
    root = os.environ.get("DSSM_DATA")
    if not root or not Path(root, "tokenizer", "tokenizer.json").is_file():
        raise SkippedError("DSSM_DATA names no folder with tokenizer/tokenizer.json")
    python = peer_python(["sentence_transformers", "datasets", "accelerate"])
    tokenizer = str(Path(root, "tokenizer", "tokenizer.json").absolute())
    with TemporaryDirectory() as folder:
        config, pairs, count = written_pairs(Path(folder), tokenizer, batch_size, epochs, num_pairs)
        words = [str(pairs), tokenizer, str(epochs), str(batch_size), str(torch.get_num_threads())]
        ours, theirs = [], []
        for turn in range(repeats):
            ours.append(fitted(["--config", str(config), "--baselines", "false"], Path(folder, f"ours-{turn}")))
            theirs.append(peer(python, "peer_static_embedding.py", words, Path(folder, f"theirs-{turn}")))
    assert ours[0].found["steps"] == theirs[0].found["steps"] == epochs * (count // batch_size), "as many steps"
    trained = epochs * (count // batch_size) * batch_size
    rows = [
        Row(f"fit of {epochs} epochs, batches of {batch_size:,}", "pairs/s", *_rates(trained, ours, theirs), LIMIT),
        Row("the same with the start of the process", "pairs/s", *_processes(trained, ours, theirs), LIMIT),
    ]
    notes = [f"{count:,} pairs; the table is {theirs[0].found['table']}.", _products(trained, batch_size, ours, theirs)]
    return Section("Static embeddings", rows, notes)


def _products(trained: int, batch_size: int, ours: list[Run], theirs: list[Run]) -> str:
    """What both sides need for the scores, in milliseconds of a step, beside what a step of the whole fit takes."""
    of_all = (median(run.found["seconds"] for run in side) for side in (ours, theirs))
    ours_ms, theirs_ms = (1e3 * batch_size * seconds / trained for seconds in of_all)
    products_ms = 1e3 * products_seconds(batch_size, batch_size, WIDTH)
    return (
        f"The score matrix and its two gradients take {shown(products_ms)} ms of each step as matrices are multiplied, "
        f"on both sides. A step of the whole fit takes ours {shown(ours_ms)} ms, theirs {shown(theirs_ms)} ms."
    )


def _rates(trained: int, *sides: list[Run]) -> list[list[float]]:
    return [rates(trained, [run.found["seconds"] for run in side]) for side in sides]


def _processes(trained: int, *sides: list[Run]) -> list[list[float]]:
    return [rates(trained, [run.process for run in side]) for side in sides]


def written_pairs(folder: Path, tokenizer: str, batch_size: int, epochs: int, num_pairs: int) -> tuple[Path, Path, int]:
    """Write a config of ours and the pairs of texts as theirs reads them; return both and the number of pairs."""
    tables = Tldr().tables()
    assert tables.queries is not None
    assert tables.candidates is not None
    events = tables.interactions.select("query", "page_id").unique(maintain_order=True).head(num_pairs)
    texts = tables.candidates.select("page_id", "text")
    files = {"interactions": events, "queries": tables.queries, "candidates": texts}
    for name, table in files.items():
        table.write_parquet(folder / f"{name}.parquet")
    joined = events.join(texts, on="page_id", how="left", maintain_order="left")
    joined.select(anchor="query", positive="text").write_parquet(folder / "pairs.parquet")
    source = {name: str(folder / f"{name}.parquet") for name in files}
    config = folder / "ours.yaml"
    made = _config(source | {"query_id": "query", "candidate_id": "page_id"}, tokenizer, batch_size, epochs)
    config.write_text(yaml.safe_dump(made), encoding="utf-8")
    return config, folder / "pairs.parquet", len(events)


def _config(source: dict[str, str], tokenizer: str, batch_size: int, epochs: int) -> dict[str, Any]:
    def tower(name: str) -> dict[str, Any]:
        bag = {"class_path": "EmbeddingBag", "init_args": {"output_dim": WIDTH, "pooling": "mean", "sparse": True}}
        return {"class_path": "Tower", "init_args": {"fusion": "Sum", "encoders": {name: bag}}}

    def feature(name: str, column: str) -> dict[str, Any]:
        return {"class_path": "Tokens", "init_args": {"name": name, "column": column, "tokenizer": tokenizer}}

    return {
        "seed_everything": 1,
        "data": {
            "source": {"class_path": "Files", "init_args": source},
            "split": {"class_path": "RandomRows", "init_args": {"test": 0.0, "validation": 0.0}},
            "batch_size": batch_size,
            "query": [feature("query_tokens", "query")],
            "candidate": [feature("text_tokens", "text")],
        },
        "model": {
            "query_tower": tower("query_tokens"),
            "candidate_tower": tower("text_tokens"),
            "tied_embeddings": {"query_tokens": "text_tokens"},
            "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 20}},
            "loss": "SampledSoftmax",
            "optimizer": {"class_path": "LazyAdam", "init_args": {"lr": 0.004, "fused": True}},
        },
        "trainer": {"accelerator": "cpu", "max_epochs": epochs, "limit_val_batches": 0, "enable_progress_bar": False},
    }
