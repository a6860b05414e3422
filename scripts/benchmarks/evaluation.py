"""Evaluation as ``bench.py`` times it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks import rivals
from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import SEEN_KEPT, Evaluation, resolve_ks
from dssm_lightning.utils.ragged import Ragged


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
            "the product at GEMM speed, passes over the scores at memory speed",
        )
    ]
    note = (
        f"torchmetrics, which takes its queries one by one, ranked {rival_events:,} of the events; its rate is theirs."
    )
    return Section("Evaluation", rows, [note])
