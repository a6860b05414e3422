"""Retrievers over a few candidates: with given embeddings, or of a small untrained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from helpers.small import small_data, small_model

from dssm_lightning.api import make_retriever
from dssm_lightning.data.sources import Frames
from dssm_lightning.features import Categorical, HashedWords, Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.scorers import Dot, Scorer
from dssm_lightning.retrieval.candidate_tables import kinds_of, rows_of
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.retriever import Retriever

EMBEDDINGS = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
TABLE = pl.DataFrame({"id": ["a", "b", "c", "d"], "name": ["ant", "bee", "cow", "dog"], "size": [1, 2, 3, 4]})
DIRECTIONS = Schemas(
    Schema((Vector(name="direction", length=2),)),
    Schema((Vector(name="direction", length=2), Categorical(name="kind", vocabulary=("x",)))),
)


class Distance(Scorer):
    """A scorer that no index of inner products can serve."""

    def forward(self, query: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
        """(Q, D), (C, D) -> (Q, C)."""
        return -torch.cdist(query, candidate)

    def pairs(self, query: torch.Tensor, candidate: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """(Q, D), (C, D), (Q, n) -> (Q, n)."""
        return -(query[:, None] - candidate[columns]).norm(dim=2)


class GivenTowers:
    """Towers that return the feature ``direction``, scaled, with any scorer."""

    def __init__(self, scorer: Scorer | None = None, scale: float = 1.0, width: int = 2) -> None:
        self._scorer, self._scale = scorer or Dot(2.0), scale
        self.scorer, self.vector_width = type(self._scorer).__name__, width
        indexable = self._scorer.indexable
        self.num_indexes = len(self._scorer.vectors(torch.zeros(1, width))) if indexable else 0

    def encode(self, side: str, columns: Any) -> Any:
        """The feature itself."""
        with np.errstate(over="ignore"):
            return columns["direction"] * np.float32(self._scale)

    def vectors(self, embeddings: Any) -> Any:
        """(B, D) -> (H, B, d)."""
        with torch.inference_mode():
            return self._scorer.vectors(torch.tensor(embeddings)).numpy()

    def score(self, query: Any, candidate: Any, columns: Any) -> Any:
        """(Q, D), (C, D), (Q, n) -> (Q, n)."""
        with torch.inference_mode():
            return self._scorer.pairs(*map(torch.tensor, (query, candidate, columns))).numpy()


def given_retriever(
    display: Sequence[str] = ("name",),
    scorer: Scorer | None = None,
    schemas: Schemas = DIRECTIONS,
    table: pl.DataFrame = TABLE,
    embeddings: Any = EMBEDDINGS,
    scale: float = 1.0,
) -> Retriever:
    """A retriever over candidates with the given embeddings."""
    corpus = Corpus.build(GivenTowers(scorer, scale), rows_of(table), embeddings, None, kinds_of(table))
    return Retriever(schemas, corpus, display)


WORDS = [
    "list",
    "copy",
    "move",
    "file",
    "folder",
    "disk",
    "show",
    "remove",
    "rename",
    "open",
    "close",
    "print",
    "time",
    "user",
    "group",
]


def shop_table(count: int = 30, first: int = 0) -> pl.DataFrame:
    """Candidates with texts, numbers, lists, dates and truth values."""
    numbers = range(first, first + count)
    return pl.DataFrame(
        {
            "item": [f"i{n}" for n in numbers],
            "text": [f"{WORDS[n % 15]} {WORDS[(3 * n + 1) % 15]} {WORDS[(n * n) % 15]}" for n in numbers],
            "price": [None if n % 7 == 0 else n / 2 for n in numbers],
            "tags": [["red", "new"][: n % 3] for n in numbers],
            "made": [None if n % 5 == 0 else f"20{10 + n % 10}-01-{1 + n % 28:02}" for n in numbers],
            "sold": [n % 2 == 0 for n in numbers],
        },
        schema_overrides={"price": pl.Float64, "tags": pl.List(pl.String), "made": pl.String},
    ).with_columns(pl.col("made").str.to_date())


def shop_retriever(folder: Path, table: pl.DataFrame | None = None, **changes: Any) -> Retriever:
    """An untrained model over a table of the shop; queries are texts."""
    model, data = shop(folder, table, **changes)
    return make_retriever(model, data)


def shop(folder: Path, table: pl.DataFrame | None = None, **changes: Any) -> tuple[Any, Any]:
    """An untrained model in evaluation mode, and its data.

    Args:
        folder: for the cache.
        table: of the candidates.
        changes: of the data; ``model`` changes the model.
    """
    candidates = shop_table() if table is None else table
    items = candidates["item"].to_list()
    pairs = [(f"q{q}", items[(5 * q + step) % len(items)], step) for q in range(12) for step in range(4)]
    interactions = pl.DataFrame(pairs, schema=["search", "item", "time"], orient="row")
    queries = pl.DataFrame(
        {"search": [f"q{q}" for q in range(12)], "words": [" ".join(WORDS[q : q + 3]) for q in range(12)]}
    )
    source = Frames(
        interactions, queries, candidates, query_id="search", candidate_id="item", time="time", display=["text", "tags"]
    )
    settings: dict[str, Any] = {
        "source": source,
        "query": [HashedWords(name="words", num_buckets=300)],
        "candidate": [HashedWords(name="text", num_buckets=300)],
    }
    settings |= changes
    model = small_model(**settings.pop("model", {}))
    data = small_data(folder, **settings)
    torch.manual_seed(0)
    model.build(data.data.schemas)
    return model.eval(), data
