"""Splits that take the folds from a column of the data."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import FOLDS, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import examples, query_codes, texts_of
from dssm_lightning.data.splits.ordering import FoldArray, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError, require_choice

Drawn = Literal["rows", "queries"]


class PublishedFold(Split):
    """Take the folds from a column, as the authors of a data set published them.

    Args:
        column: column of ``interactions`` or of ``queries`` with the values "train", "test" and, optionally,
            "validation".
        validation: fraction of the training rows (or queries) that become validation rows, for a column that names no
            validation rows.
        by: what is drawn for validation: "rows", or whole "queries".
        seed: seed of that draw.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1, 1], "candidate_id": [5, 6], "part": ["train", "test"]})
        >>> PublishedFold("part").assign(Frames(events).tables().resolve([], [])).tolist()
        [0, 2]
    """

    def __init__(self, column: str, validation: float = 0.0, by: Drawn = "rows", seed: int = 42) -> None:
        self._set_fractions(0.0, validation, seed)
        require_choice("PublishedFold", "by", by, get_args(Drawn))
        self.column, self.by, self.seed = column, by, seed

    @property
    def column_of_folds(self) -> str:
        """The column with the names of the folds."""
        return self.column

    def _folds(self, tables: Tables) -> FoldArray:
        column = texts_of(self, tables, self.column)
        found = set(column.unique())
        if not found <= set(FOLDS) or "train" not in found or len(found) < 2:
            raise UserError(
                f"PublishedFold: column {self.column!r} has {examples(column)}; "
                "its values must be 'train' and 'test', and may be 'validation'"
            )
        if self.validation and "validation" in found:
            raise UserError(
                f"PublishedFold: validation is {self.validation}, but column {self.column!r} has validation rows "
                "already; set validation to 0"
            )
        codes = {name: code for code, name in enumerate(FOLDS)}
        fold: FoldArray = column.replace_strict(codes, return_dtype=pl.Int8).to_numpy().copy()
        rows = np.flatnonzero(fold == TRAIN)
        # The numbers of the drawn things: the training rows themselves, or their queries.
        drawn = np.unique(rows if self.by == "rows" else query_codes(tables)[rows], return_inverse=True)[1]
        n = int(drawn.max()) + 1
        fold[rows[shuffled(n, self.seed)[drawn] < part_size(n, self.validation)]] = VALIDATION
        return fold
