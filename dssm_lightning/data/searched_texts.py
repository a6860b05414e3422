"""What queries and candidates say: several columns of texts as one."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.features import LikedBy
from dssm_lightning.features.text.joined_columns import join_text_columns


def corpus_texts(data: Prepared) -> list[str] | None:
    """(N,) what the candidate side reads of each: its own texts, and by ``LikedBy`` those of training queries.

    None where it reads no text.
    """
    own = data.schemas.candidate.text_columns
    items = [feature.item for feature in data.schemas.candidate if isinstance(feature, LikedBy)]
    asked = list(dict.fromkeys(item.source_column for item in items if item is not None and item.reads_text))
    asked = [name for name in asked if name in data.queries.columns]
    if not asked:
        return join_text_columns(data.candidates, own) if own else None
    table = data.candidates.select(*own, _asked(data, asked).alias("liked by"))
    return join_text_columns(table, table.columns)


def _asked(data: Prepared, columns: list[str]) -> pl.Series:
    """(N,) the texts of the training queries that like each candidate, side by side; null where there are none."""
    rows = data.interactions.rows(TRAIN, label=1)
    said = pl.Series(join_text_columns(data.queries, columns))[data.interactions.query[rows].numpy()]
    pairs = pl.DataFrame({"candidate": data.interactions.candidate[rows].numpy(), "said": said})
    together = pairs.group_by("candidate", maintain_order=True).agg(pl.col("said").str.join(" "))
    every = pl.DataFrame({"candidate": range(len(data.candidates))}, schema={"candidate": pl.Int64})
    return every.join(together, on="candidate", how="left", maintain_order="left")["said"]
