"""How far a bundle's programs and index are from the evaluation of the module that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dssm_lightning.api import export_bundle, load_run
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.ragged_arrays import Arrays, RaggedArray

TIE = 1e-5
"""Candidates whose scores differ by less may change places; relative to scores above 1."""


class Parity(NamedTuple):
    """What was compared, and how far it is apart."""

    queries: int
    candidates: int
    difference: float
    """Largest of the scores, relative to scores above 1."""
    swaps: int
    """Places with another id; all of them among near-ties, or ``wrong`` counts them."""
    wrong: int


def as_arrays(features: Any, towers: Any) -> Arrays:
    """The columns of a batch as the programs of a bundle take them: candidates of a history are embedded."""
    found: Arrays = {}
    for name, column in features.items():
        if isinstance(column, torch.Tensor):
            found[name] = column.numpy()
            continue
        items = column.items
        if isinstance(items, dict):
            items = towers.encode("candidate", as_arrays(items, towers))
        age = None if column.age is None else column.age.numpy()
        found[name] = RaggedArray(column.values.numpy(), column.offsets.numpy(), age, items)
    return found


@torch.inference_mode()
def parity_of(checkpoint: Path, bundle: Path, most: int = 256, k: int = 100) -> Parity:
    """Export a checkpoint, and compare the best candidates of its held-out queries."""
    export_bundle(checkpoint, bundle)
    model, data = load_run(checkpoint)
    model.eval()
    batches = data.corpus_batches()
    corpus = model.embed_corpus(batches, len(batches.numbers))
    k = min(k, len(corpus))
    total, worst, swaps, wrong = 0, 0.0, 0, 0
    with Retriever.load(bundle) as retriever:
        for fold in (TEST, VALIDATION):
            for batch in data.evaluation_batches(fold) if total < most else ():
                wanted = model.scorer(model.embed_rows(model.encode_query, batch.query), corpus).numpy()[: most - total]
                embedded = retriever.towers.encode("query", as_arrays(batch.query, retriever.towers))[: len(wanted)]
                found = retriever.corpus.search(embedded, k, None)
                for (scores, rows), all_wanted in zip(found, wanted, strict=True):
                    difference, other, bad = _compared(scores, rows, all_wanted)
                    worst, swaps, wrong = max(worst, difference), swaps + other, wrong + bad
                total += len(wanted)
                if total >= most:
                    break
    return Parity(total, len(corpus), worst, swaps, wrong)


def _compared(scores: Any, rows: Any, wanted: Any) -> tuple[float, int, int]:
    """Scores (k,) and rows (k,) against all scores (N,) of the module."""
    order = np.argsort(-wanted, kind="stable")[: len(rows)]
    scale = np.maximum(1.0, np.abs(wanted[order]))
    difference = float((np.abs(scores - wanted[rows]) / np.maximum(1.0, np.abs(wanted[rows]))).max())
    other = rows != order
    wrong = other & (np.abs(wanted[rows] - wanted[order]) > TIE * scale)
    return difference, int(other.sum()), int(wrong.sum())
