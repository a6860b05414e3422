"""Queries with their own lists of candidates: of any size, with grades, without a positive, of positives only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import torch
from helpers.small import small_data

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomQueries
from dssm_lightning.features import HashedWords

QUERIES, CANDIDATES = 60, 40


def listed_frames(seed: int = 5) -> dict[str, pl.DataFrame]:
    """60 queries with 1 to 15 of 40 candidates each; the rows of all queries are mixed."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for query in range(QUERIES):
        size = 1 + query % 15
        for candidate in torch.randperm(CANDIDATES, generator=generator)[:size].tolist():
            share = {3: 0.0, 4: 1.0}.get(query % 5, 0.4)  # a fifth without a positive, a fifth of positives only
            liked = bool(torch.rand(1, generator=generator) < share)
            grade = int(torch.randint(1, 4, (1,), generator=generator)) if liked else 0
            rows.append((f"q{query}", f"c{candidate}", int(liked), grade))
    order = torch.randperm(len(rows), generator=generator).tolist()
    names = ["query", "page", "liked", "grade"]
    return {
        "interactions": pl.DataFrame([rows[place] for place in order], schema=names, orient="row"),
        "queries": pl.DataFrame(
            {"query": [f"q{row}" for row in range(QUERIES)], "words": [f"w{q % 20}" for q in range(QUERIES)]}
        ),
        "candidates": pl.DataFrame(
            {"page": [f"c{row}" for row in range(CANDIDATES)], "text": [f"w{c % 20}" for c in range(CANDIDATES)]}
        ),
    }


def listed_data(folder: Path, **changes: Any) -> RetrievalDataModule:
    """The lists as data. Pairs of candidates have equal texts, so that their scores tie."""
    frames = listed_frames()
    settings: dict[str, Any] = {
        "source": Frames(**frames, query_id="query", candidate_id="page", label="liked", grade="grade"),
        "query": [HashedWords(name="words", num_buckets=300)],
        "candidate": [HashedWords(name="text", num_buckets=300)],
        "split": RandomQueries(test=0.4, validation=0.2),
        "evaluate": "listed",
    }
    return small_data(folder, **(settings | changes))
