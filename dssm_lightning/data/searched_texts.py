"""The text of each candidate, as BM25 and TF-IDF search it: several columns as one."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.features import LikedBy
from dssm_lightning.features.text.joined_columns import join_text_columns


def corpus_texts(data: Prepared) -> list[str] | None:
    """Return (N,) the texts that the candidate side reads; None if it reads none.

    They are the candidate's own text columns and, with a feature ``LikedBy``, the texts of the training queries that
    like the candidate.
    """
    own = data.schemas.candidate.text_columns
    items = [feature.item for feature in data.schemas.candidate if isinstance(feature, LikedBy)]
    columns = list(dict.fromkeys(item.source_column for item in items if item is not None and item.reads_text))
    columns = [name for name in columns if name in data.queries.columns]
    if not columns:
        return join_text_columns(data.candidates, own) if own else None
    table = data.candidates.select(*own, _texts_of_queries(data, columns).alias("liked by"))
    return join_text_columns(table, table.columns)


def _texts_of_queries(data: Prepared, columns: list[str]) -> pl.Series:
    """Return (N,) the joined texts of the training queries that like each candidate; null without such a query."""
    rows = data.interactions.rows(TRAIN, label=1)
    texts = pl.Series(join_text_columns(data.queries, columns))[data.interactions.query[rows].numpy()]
    pairs = pl.DataFrame({"candidate": data.interactions.candidate[rows].numpy(), "text": texts})
    joined = pairs.group_by("candidate", maintain_order=True).agg(pl.col("text").str.join(" "))
    every = pl.DataFrame({"candidate": range(len(data.candidates))}, schema={"candidate": pl.Int64})
    return every.join(joined, on="candidate", how="left", maintain_order="left")["text"]
