"""Join several text columns into one text for each row."""

from __future__ import annotations

import polars as pl


def join_text_columns(table: pl.DataFrame, columns: list[str]) -> list[str]:
    """Join the columns of each row (B,), texts and lists of texts, with blanks; nulls are removed.

    Example:
        >>> table = pl.DataFrame({"title": ["Toy Story", None], "genres": [["Animation", "Comedy"], ["Drama"]]})
        >>> join_text_columns(table, ["title", "genres"])
        ['Toy Story Animation Comedy', 'Drama']
    """
    texts = [
        pl.col(name).list.join(" ") if isinstance(table.schema[name], pl.List) else pl.col(name).cast(pl.String)
        for name in columns
    ]
    joined = pl.concat_str(texts, separator=" ", ignore_nulls=True)
    return table.select(joined).to_series().to_list()
