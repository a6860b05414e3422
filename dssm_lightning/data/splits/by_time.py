"""The latest rows: of each query, or of all."""

from __future__ import annotations

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import query_codes
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, part_size, places
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError


class LeaveLastN(Split):
    """The last interactions of each query by time test, those before them validate ("leave one out" with 1 and 1).

    Equal times keep the order of the rows. A query always keeps its first row to train on: with two rows it has one to
    test and none to validate.

    Args:
        test: rows of each query that test.
        validation: rows of each query that validate.
    """

    def __init__(self, test: int = 1, validation: int = 1) -> None:
        for name, value in (("test", test), ("validation", validation)):
            if value < 0:
                raise UserError(f"LeaveLastN: {name} is {value}; it is a number of rows of each query, 0 or more")
        self.test, self.validation = test, validation

    def _folds(self, tables: Tables) -> FoldArray:
        order = _time(self, tables).rank("ordinal").to_numpy().astype(np.int64) - 1
        fold = np.empty(len(order), np.int8)
        for rows, place, size in places(query_codes(tables), order):
            test = np.minimum(int(self.test), size - 1)
            validation = np.minimum(int(self.validation), size - 1 - test)
            fold[rows] = assign_folds(size - 1 - place, test, validation)
        return fold


class ByTime(Split):
    """The latest interactions of all test, those before them validate: nothing from after a cut is trained on.

    Equal times never straddle a cut: all of them go to the later fold, which can make it larger than asked for.

    Args:
        test: fraction of the rows that test.
        validation: fraction of the same that validates.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1) -> None:
        self._ask(test, validation)

    def _folds(self, tables: Tables) -> FoldArray:
        time = _time(self, tables).to_physical().to_numpy()
        R = len(time)
        test, validation = int(part_size(R, self.test)), int(part_size(R, self.validation))
        cuts = {code: R - size for code, size in ((VALIDATION, test + validation), (TEST, test)) if size}
        ordered = np.partition(time, np.array(list(cuts.values()), np.int64))
        fold = np.full(R, TRAIN, np.int8)
        for code, place in cuts.items():
            fold[time >= ordered[place]] = code  # fewer rows than were asked for are of a strictly later time
        return fold


def _time(split: Split, tables: Tables) -> pl.Series:
    """(R,) the column that orders the interactions, without a gap."""
    name, columns = tables.keys.time, tables.interactions.columns
    if name is None or name not in columns:
        found = "keys.time names no column" if name is None else f"there is no column {name!r}"
        raise UserError(f"{type(split).__name__} needs a time, but {found}; interactions has {', '.join(columns)}")
    time = tables.interactions[name]
    missing = (time.fill_nan(None) if time.dtype.is_float() else time).null_count()
    if missing:
        raise UserError(f"{type(split).__name__}: time column {name!r} is missing in {missing} of {len(time)} rows")
    return time
