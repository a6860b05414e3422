"""Known positives by text: a candidate must not be a negative of a query that likes the same text under another id."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import group
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take


class SameText:
    """The known positives of each query, compared by text in place of ids.

    Suppose that a training query likes a candidate. Then every query with the text of this query is known to like every
    candidate with the text of this candidate. Two rows of a side have the same text if they are equal in the columns of
    all text features of the side; null equals null.

    Args:
        data: the prepared data.
        likes: the training positives of each row of the query table, as corpus rows.

    Raises:
        UserError: a side has no text feature, or a text varies by event.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from dssm_lightning.data.retrieval_data import RetrievalData
        >>> from dssm_lightning.data.sources import Frames
        >>> from dssm_lightning.data.splits import RandomRows
        >>> from dssm_lightning.features import HashedWords
        >>> events = pl.DataFrame({"q": [0, 1], "c": [5, 6], "asks": ["cat", "cat"], "says": ["meow", "purr"]})
        >>> features = [HashedWords(name="asks")], [HashedWords(name="says")]
        >>> with TemporaryDirectory() as folder:
        ...     source, split = Frames(events, query_id="q", candidate_id="c"), RandomRows(test=0, validation=0)
        ...     data = RetrievalData(source, *features, split, cache_dir=folder)
        ...     same_text = SameText(data.data, data.assembler.likes.candidates)
        >>> same_text.of(torch.tensor([0])).values.tolist()  # query 1 has the same text and likes candidate 1
        [0, 1]
    """

    def __init__(self, data: Prepared, likes: Ragged) -> None:
        self._query = _first_with_same_text(data.queries, data.schemas.query.text_columns, "query")
        candidate = _first_with_same_text(data.candidates, data.schemas.candidate.text_columns, "candidate")
        liked = {"query": self._query[likes.rows].numpy(), "candidate": candidate[likes.values.long()].numpy()}
        equal = pl.DataFrame({"candidate": candidate.numpy()}).with_row_index("row")
        pairs = pl.DataFrame(liked).unique(maintain_order=True).join(equal, on="candidate", maintain_order="left_right")
        query, row = (torch.from_numpy(pairs[name].cast(pl.Int64).to_numpy().copy()) for name in ("query", "row"))
        self._known = group(query, row, len(data.queries))

    def of(self, query: Tensor) -> Ragged:
        """Return the corpus rows that each query (B,) is known to like."""
        return take(self._known, self._query[query])


def _first_with_same_text(table: pl.DataFrame, columns: list[str], side: str) -> Tensor:
    """Return the first row with the same text for each row, (n,) int64."""
    missing = [name for name in columns if name not in table.columns]
    if missing or not columns:
        found = f"{missing[0]!r} is a column of the interactions" if missing else f"no {side} feature reads a text"
        raise UserError(f"mask_duplicates compares the texts of queries and of candidates, but {found}")
    first = table.select(columns).with_row_index("__row").select(pl.first("__row").over(columns)).to_series()
    return torch.from_numpy(first.cast(pl.Int64).to_numpy().copy())
