"""A corpus of millions as ``bench.py`` times it: what ranking adds to the product that it needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation, resolve_ks
from dssm_lightning.utils.ragged import Ragged

AT_ONCE = 32
"""Queries that an evaluation scores at a time against as many candidates."""


def large_corpus(
    num_candidates: int = 5_000_000, dim: int = 128, num_events: int = 64, relevant: int = 1, repeats: int = 3
) -> Section:
    """Scores, ranks and metrics of both protocols over a corpus of millions, against the bare `torch.matmul`.

    Each event has one relevant candidate and twenty seen ones. The product has the same shapes, 32 queries at a time.
    """
    generator = torch.Generator().manual_seed(0)
    corpus = torch.empty(num_candidates, dim)
    for part in torch.split(corpus, 1 << 16):
        part.copy_(F.normalize(torch.randn(len(part), dim, generator=generator), dim=1))
    query = F.normalize(torch.randn(num_events, dim, generator=generator), dim=1)
    first = torch.randint(num_candidates, (num_events, 1), generator=generator)
    chosen = (first + 7 * torch.arange(relevant + 20)) % num_candidates  # (events, relevant + 20)
    metrics = Evaluation(resolve_ks(None, num_candidates), labelled=False)

    def ours() -> None:
        for rows in torch.split(torch.arange(num_events), AT_ONCE):
            wanted, seen = chosen[rows].split([relevant, 20], dim=1)
            place = torch.arange(len(rows) + 1)
            tables = (Ragged(wanted.flatten(), place * relevant), Ragged(seen.flatten(), place * 20))
            metrics.update(query[rows] @ corpus.T, EvaluationBatch({}, rows, *tables, None))

    def product() -> None:
        for rows in torch.split(query, AT_ONCE):
            rows @ corpus.T

    seconds = alternate([ours, product], repeats)
    work = 2 * num_events * num_candidates * dim / 1e9
    what = f"{num_events:,} events × {num_candidates:,} candidates × {dim}"
    held = 4 * num_candidates * (dim + AT_ONCE) / 2**30
    note = f"In memory are the corpus' embeddings and the scores of {AT_ONCE} queries, {held:.2f} GiB; nothing grows."
    row = Row(what, "GFLOP/s", *(rates(work, each) for each in seconds), limit="the product: 1")
    return Section("A corpus of millions", [row], [note])
