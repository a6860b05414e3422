"""Several text columns as one text for each row."""

from __future__ import annotations

import polars as pl


def join_text_columns(table: pl.DataFrame, columns: list[str]) -> list[str]:
    """(B,) the columns of each row side by side, lists too, with a blank between; nulls are left out."""
    words = [
        pl.col(name).list.join(" ") if isinstance(table.schema[name], pl.List) else pl.col(name).cast(pl.String)
        for name in columns
    ]
    together = pl.concat_str(words, separator=" ", ignore_nulls=True)
    return table.select(together).to_series().to_list()
