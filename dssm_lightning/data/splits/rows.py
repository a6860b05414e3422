"""Rows at random: of all rows together, or of each query."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import query_codes
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, part_size, places, shuffled
from dssm_lightning.data.tables.tables import Tables


class RandomRows(Split):
    """Interactions at random: a query can have rows in every fold.

    Args:
        test: fraction of the rows that test.
        validation: fraction of the same that validates.
        seed: of the draw.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._ask(test, validation)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        R = len(tables.interactions)
        return assign_folds(shuffled(R, self.seed), part_size(R, self.test), part_size(R, self.validation))


class PerQuery(Split):
    """A part of each query's interactions at random: 8:1:1 by default.

    Rounds as RecBole does: a part of less than one row is one row, as long as a second one is left to train on; test
    comes first. A query with two rows trains on one and tests one, a query with a single row trains.

    Args:
        test: fraction of each query's rows that test.
        validation: fraction of the same that validates.
        seed: of the draw.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._ask(test, validation)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        query = query_codes(tables)
        fold = np.empty(len(query), np.int8)
        for rows, place, size in places(query, shuffled(len(query), self.seed)):
            test, validation = part_size(size, self.test), part_size(size, self.validation)
            if self.test:
                test += (test == 0) & (size - validation > 1)
            if self.validation:
                validation += (validation == 0) & (size - test > 1)
            fold[rows] = assign_folds(place, test, validation)
        return fold
