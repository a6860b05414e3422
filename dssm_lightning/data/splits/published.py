"""Folds that the data themselves name."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import FOLDS, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import column_of, examples, query_codes
from dssm_lightning.data.splits.ordering import FoldArray, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError

Drawn = Literal["rows", "queries"]


class PublishedFold(Split):
    """The folds that a column names, as the authors of a data set made them.

    Args:
        column: of ``interactions`` or of ``queries``, with the values "train", "test" and, perhaps, "validation".
        validation: fraction of the training rows (or queries) that validate instead, for a column that names no
            validation rows itself.
        by: what is drawn for validation: "rows", or whole "queries".
        seed: of that draw.
    """

    def __init__(self, column: str, validation: float = 0.0, by: Drawn = "rows", seed: int = 42) -> None:
        self._ask(0.0, validation)
        if by not in get_args(Drawn):
            raise UserError(f"PublishedFold: by is {by!r}; possible: rows, queries")
        self.column, self.by, self.seed = column, by, seed

    def _folds(self, tables: Tables) -> FoldArray:
        column = column_of(self, tables, self.column).cast(pl.String)
        found = set(column.unique())
        if not found <= set(FOLDS) or "train" not in found or len(found) < 2:
            raise UserError(
                f"PublishedFold: column {self.column!r} has {examples(column)}; "
                "its values must be 'train' and 'test', and may be 'validation'"
            )
        if self.validation and "validation" in found:
            raise UserError(f"PublishedFold: column {self.column!r} has validation rows already; set validation to 0")
        codes = {name: code for code, name in enumerate(FOLDS)}
        fold: FoldArray = column.replace_strict(codes, return_dtype=pl.Int8).to_numpy().copy()
        rows = np.flatnonzero(fold == TRAIN)
        # Numbers what is drawn: the training rows themselves, or their queries.
        drawn = np.unique(rows if self.by == "rows" else query_codes(tables)[rows], return_inverse=True)[1]
        n = int(drawn.max()) + 1
        fold[rows[shuffled(n, self.seed)[drawn] < part_size(n, self.validation)]] = VALIDATION
        return fold
