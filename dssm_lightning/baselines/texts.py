"""What queries and candidates say: several columns of texts as one."""

from __future__ import annotations

import polars as pl


def joined(table: pl.DataFrame, columns: list[str]) -> list[str]:
    """(B,) the columns of each row side by side, with a blank between; nulls are left out."""
    together = pl.concat_str(pl.col(columns).cast(pl.String), separator=" ", ignore_nulls=True)
    return table.select(together).to_series().to_list()
