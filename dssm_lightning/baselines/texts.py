"""What queries and candidates say: the columns that their text features read, as one text for each row."""

from __future__ import annotations

import polars as pl

from dssm_lightning.features.text_column import TextFeature
from dssm_lightning.features.tokens import Tokens
from dssm_lightning.schema import Schema


def text_columns(schema: Schema) -> list[str]:
    """The columns that a side's text features read."""
    features = (feature for feature in schema if isinstance(feature, TextFeature | Tokens))
    return list(dict.fromkeys(feature.source_column for feature in features))


def joined(table: pl.DataFrame, columns: list[str]) -> list[str]:
    """(B,) the columns of each row side by side, with a blank between; nulls are left out."""
    together = pl.concat_str(pl.col(columns).cast(pl.String), separator=" ", ignore_nulls=True)
    return table.select(together).to_series().to_list()
