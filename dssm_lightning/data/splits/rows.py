"""Splits of single rows, at random: among all rows, or among the rows of each query."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import query_codes
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, part_size, places, shuffled
from dssm_lightning.data.tables.tables import Tables


class RandomRows(Split):
    """Hold out random interactions; a query can have rows in every fold.

    Args:
        test: fraction of the rows in the test fold.
        validation: fraction of the rows in the validation fold.
        seed: seed of the random order.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1] * 10, "candidate_id": range(10)})
        >>> fold = RandomRows(test=0.2, validation=0.1).assign(Frames(events).tables().resolve([], []))
        >>> np.bincount(fold).tolist()  # train, validation, test
        [7, 1, 2]
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._set_fractions(test, validation, seed)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        R = len(tables.interactions)
        return assign_folds(shuffled(R, self.seed), part_size(R, self.test), part_size(R, self.validation))


class PerQuery(Split):
    """Hold out a random part of each query's interactions: 8:1:1 by default.

    Parts are rounded as in RecBole: a part of less than one row becomes one row if a second row is left for training;
    the test fold comes first. A query with two rows has one training row and one test row; a query with one row only
    trains.

    Args:
        test: fraction of each query's rows in the test fold.
        validation: fraction of each query's rows in the validation fold.
        seed: seed of the random order.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1] * 3 + [2] * 2, "candidate_id": [5, 6, 7, 5, 6]})
        >>> fold = PerQuery(test=0.2, validation=0.0).assign(Frames(events).tables().resolve([], []))
        >>> int((fold[:3] == 2).sum()), int((fold[3:] == 2).sum())  # one test row of each query
        (1, 1)
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._set_fractions(test, validation, seed)
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
