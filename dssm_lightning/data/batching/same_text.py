"""What says the same under several ids: a text must never be its own negative."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import group
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take


class SameText:
    """What each query is known to like, by what queries and candidates say instead of by their ids.

    A query is known to like every candidate that says the same as one that a query which says the same liked in
    training. Two rows say the same where the columns of all text features of their side are equal; null is a text, too.

    Args:
        data: the prepared data.
        likes: what each query liked in training, a row for each row of the query table.

    Raises:
        ValueError: a side without a text.
    """

    def __init__(self, data: Prepared, likes: Ragged) -> None:
        self._query = _first_alike(data.queries, data.schemas.query.text_columns, "query")
        candidate = _first_alike(data.candidates, data.schemas.candidate.text_columns, "candidate")
        said = {"query": self._query[likes.rows].numpy(), "candidate": candidate[likes.values.long()].numpy()}
        alike = pl.DataFrame({"candidate": candidate.numpy()}).with_row_index("row")
        pairs = pl.DataFrame(said).unique(maintain_order=True).join(alike, on="candidate", maintain_order="left_right")
        query, row = (torch.from_numpy(pairs[name].cast(pl.Int64).to_numpy().copy()) for name in ("query", "row"))
        self._known = group(query, row, len(data.queries))

    def of(self, query: Tensor) -> Ragged:
        """Corpus rows that each of the queries (B,) is known to like."""
        return take(self._known, self._query[query])


def _first_alike(table: pl.DataFrame, columns: list[str], side: str) -> Tensor:
    """(n,) int64: for each row the first row that says the same."""
    missing = [name for name in columns if name not in table.columns]
    if missing or not columns:
        found = f"{missing[0]!r} is a column of the interactions" if missing else f"no {side} feature reads a text"
        raise UserError(f"mask_duplicates compares the texts of queries and of candidates, but {found}")
    first = table.select(columns).with_row_index("__row").select(pl.first("__row").over(columns)).to_series()
    return torch.from_numpy(first.cast(pl.Int64).to_numpy().copy())
