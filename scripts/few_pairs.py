"""Text search with few training pairs: one vector for each text, against BM25 and TF-IDF.

Cuts MedQuAD, tldr and emoji to some hundred training pairs and at most 11,000 candidates, fits a model that starts as
BM25 (``few``) and one from scratch (``scratch``), and prints hit rate@10 and MRR of the test queries. The test queries
are the same in every cut. 100 further queries are validation rows, on which the weight of the blend with BM25 is
chosen. With ``--dev``, as many other queries are validated after every epoch: settings were chosen with them.

    DSSM_DATA=FOLDER python scripts/few_pairs.py --data medquad --pairs 700 --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import warnings
from typing import Any

import numpy as np
import polars as pl
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.negatives import Uniform
from dssm_lightning.data.sources import Emoji, Frames, MedQuAD, Tldr
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.evaluation.blend_choice import choose_blend
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.measure_baselines import measure_baselines
from dssm_lightning.features import Feature, HashedTrigrams, HashedWords

CANDIDATES, TESTED, VALIDATED = 11_000, 1000, 100
LONGEST = 2000  # characters of a text
BUCKETS = {"words": 1 << 15, "trigrams": 1 << 14}
Texts = tuple[list[str], dict[str, set[int]], dict[str, str]]


def texts_of(name: str) -> Texts:
    """The candidates' texts, the rows of the candidates that each query should find, and the queries' texts."""
    source = {"medquad": MedQuAD, "tldr": Tldr, "emoji": Emoji}[name]()
    tables = source.tables()
    queries, candidates = tables.queries, tables.candidates
    assert queries is not None
    assert candidates is not None
    key, row_key = tables.keys.query_id, tables.keys.candidate_id
    if name == "emoji":
        queries = queries.filter(pl.col("lang") == "en", pl.col("kind") == "tag")
        texts = [" ".join(row) for row in candidates.select("name", "category", "subcategory").iter_rows()]
    else:
        texts = [text[:LONGEST] for text in candidates["answer" if name == "medquad" else "text"]]
    asked = dict(zip(queries[key], queries["query" if name == "emoji" else key], strict=True))
    rows = {value: row for row, value in enumerate(candidates[row_key])}
    wanted: dict[str, set[int]] = {}
    for query, candidate in tables.interactions.select(key, row_key).iter_rows():
        if query in asked:
            wanted.setdefault(query, set()).add(rows[candidate])
    return texts, wanted, asked


def cut(name: str, pairs: int, seed: int, dev: bool) -> Frames:
    """Some training pairs, validation and test queries, and the candidates of all of them among others."""
    texts, wanted, asked = texts_of(name)
    names = sorted(wanted)
    fixed = [names[place] for place in np.random.default_rng(12345).permutation(len(names))]
    size = min(TESTED, len(names) // 5)
    test, rest = fixed[:size], fixed[size:]
    generator = np.random.default_rng(seed)
    rest = [rest[place] for place in generator.permutation(len(rest))]
    validated = size if dev else VALIDATED
    events = [(query, row, "validation") for query in rest[:validated] for row in sorted(wanted[query])]
    events += [(query, row, "test") for query in test for row in sorted(wanted[query])]
    train = [(query, row, "train") for query in rest[validated:] for row in sorted(wanted[query])]
    events += train[:pairs]
    kept = {row for _, row, _ in events}
    others = [row for row in generator.permutation(len(texts)).tolist() if row not in kept]
    rows = sorted(kept | set(others[: max(0, CANDIDATES - len(kept))]))
    queries = list(dict.fromkeys(query for query, _, _ in events))
    return Frames(
        pl.DataFrame(events, schema=["query_id", "candidate_id", "part"], orient="row"),
        pl.DataFrame({"query_id": queries, "query": [asked[query] for query in queries]}),
        pl.DataFrame({"candidate_id": rows, "text": [texts[row] for row in rows]}),
    )


def data_of(source: Frames, few: bool, options: argparse.Namespace, folder: str) -> RetrievalDataModule:
    """Words and letter trigrams of both sides, and random negatives from the corpus."""

    def feature(kind: str, name: str, column: str, **settings: Any) -> Feature:
        make = HashedWords if kind == "words" else HashedTrigrams
        return make(name=name, column=column, num_buckets=BUCKETS[kind], **settings)

    return RetrievalDataModule(
        source=source,
        query=[feature(kind, f"query_{kind}", "query") for kind in BUCKETS],
        candidate=[feature(kind, f"text_{kind}", "text", count_texts=few) for kind in BUCKETS],
        split=PublishedFold("part"),
        batch_size=options.batch_size,
        negatives=Uniform(options.negatives),
        cache_dir=folder,
    )


def model_of(few: bool, options: argparse.Namespace) -> TwoTower:
    """The model that starts as BM25, or the same towers from scratch as in configs/medquad.yaml."""

    def tower(side: str, encoder: str, normalize: bool = True, **settings: Any) -> dict[str, Any]:
        each = {"output_dim": options.width if few else 300, "sparse": True, **settings}
        encoders = {f"{side}_{kind}": {"class_path": encoder, "init_args": each} for kind in BUCKETS}
        return {"class_path": "Tower", "init_args": {"fusion": "Sum", "encoders": encoders, "normalize": normalize}}

    settings: dict[str, Any] = {
        "query_tower": tower("query", "EmbeddingBag", pooling="sum" if few else "mean"),
        "candidate_tower": tower("text", "EmbeddingBag"),
        "scorer": {"class_path": "Dot", "init_args": {"logit_scale": options.scale}},
        "loss": "SampledSoftmax",
        "optimizer": {"class_path": "LazyAdam", "init_args": {"lr": options.lr if few else options.scratch_lr}},
        "tied_embeddings": {f"query_{kind}": f"text_{kind}" for kind in BUCKETS},
    }
    if few:
        settings["candidate_tower"] = tower("text", "TermBag", options.cosine, k1=options.k1, b=options.b)
    return TwoTower(**settings)


class Shown(Callback):
    """Show the metrics of the validation queries after every epoch."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show them."""
        found = {name.removeprefix("val/"): float(value) for name, value in trainer.callback_metrics.items()}
        show(f"{self.label} epoch {trainer.current_epoch + 1}", found)


def tested(model: LightningModule, data: RetrievalDataModule, *callbacks: Callback) -> dict[str, float]:
    """Return the metrics of the test queries."""
    trainer = Trainer(accelerator="cpu", enable_model_summary=False, callbacks=list(callbacks), **QUIET)
    return dict(trainer.test(model, datamodule=data, verbose=False)[0])


def show(label: str, metrics: dict[str, float]) -> None:
    """Print a line of the table."""
    values = [metrics.get(f"test/{name}", metrics.get(name, 0.0)) for name in ("hit_rate@10", "mrr")]
    print(f"| {label} | {values[0]:.4f} | {values[1]:.4f} |", flush=True)


def run(name: str, pairs: int, seed: int, kind: str, options: argparse.Namespace) -> None:
    """Fit and test one model, or measure the baselines."""
    label, started = f"{name} | {pairs} | {seed} | {kind}", time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = data_of(cut(name, pairs, seed, options.dev), kind == "few", options, folder)
        if kind == "baselines":
            data.prepare_data()
            data.setup("test")
            fold = "validation" if options.dev else "test"
            for result in measure_baselines(data, fold=fold, only=["BM25", "TfIdf"]):
                show(f"{name} | {pairs} | {seed} | {result.name}", result.metrics)
            return
        seed_everything(seed, verbose=False)
        model = model_of(kind == "few", options)
        epochs = options.epochs if kind == "few" else options.scratch_epochs
        callbacks: list[Callback] = [Shown(label)] if options.dev else []
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            limit_val_batches=1.0 if options.dev else 0,
            callbacks=callbacks,
            enable_model_summary=False,
            **QUIET,
        )
        trainer.fit(model, datamodule=data)
        fitted = time.process_time() - started
        if options.dev:
            return
        choice = choose_blend(model.eval(), data)
        assert choice is not None
        hybrid = HybridTest(weight=choice.blend)
        show(label, tested(model, data, hybrid))
        show(f"{label}, blended ({choice.blend})", hybrid.metrics)
        print(f"{label}: {fitted:.0f} s of processor time to fit", flush=True)


def main() -> None:
    """Run all that the options ask for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["medquad", "tldr", "emoji"])
    parser.add_argument("--pairs", nargs="+", type=int, default=[300, 700, 2000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--kinds", nargs="+", default=["baselines", "few", "scratch"])
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--cosine", action="store_true")
    for option, value in OPTIONS.items():
        parser.add_argument(f"--{option}", type=type(value), default=value)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.filterwarnings("ignore")
    for logger in ("lightning.pytorch", "lightning.fabric", "dssm_lightning"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    print("| data | pairs | seed | model | hit rate@10 | MRR |\n|---|---|---|---|---|---|")
    for name in options.data:
        for pairs in options.pairs:
            for seed in options.seeds:
                for kind in options.kinds:
                    run(name, pairs, seed, kind, options)


QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
OPTIONS = {
    "width": 2048,
    "lr": 3e-4,
    "epochs": 5,
    "k1": 1.2,
    "b": 0.75,
    "scale": 20.0,
    "batch_size": 128,
    "negatives": 512,
    "scratch_lr": 0.004,
    "scratch_epochs": 12,
}

if __name__ == "__main__":
    main()
