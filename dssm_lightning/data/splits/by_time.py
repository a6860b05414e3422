"""Splits that hold out the latest rows: of each query, or of all rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.data.interactions import LEFT_OUT, TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import query_codes
from dssm_lightning.data.splits.ordering import FoldArray, IntArray, assign_folds, part_size, places, shuffled
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError, is_whole, require_fraction, require_whole


class LeaveLastN(Split):
    """Hold out the last interactions of each query by time: test rows last, validation rows before them.

    1 and 1 is known as "leave one out". Rows with equal times keep the order of the table. Each query keeps its first
    row for training: of two rows, one is a test row and none is a validation row.

    Args:
        test: number of test rows of each query.
        validation: number of validation rows of each query.
        validation_queries: None = every query has both. A fraction: that part of the queries, at random, has validation
            rows and no test rows, and the others have test rows alone. A history of training rows then ends right
            before the test rows, as it does where the model is used.
        seed: seed of the random order of these queries.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1] * 4, "candidate_id": [5, 6, 7, 8], "year": [2001, 2004, 2002, 2003]})
        >>> LeaveLastN().assign(Frames(events, time="year").tables().resolve([], [])).tolist()
        [0, 2, 0, 1]
    """

    trains_on_later_rows = True

    def __init__(
        self, test: int = 1, validation: int = 1, validation_queries: float | None = None, seed: int = 42
    ) -> None:
        for name, value in (("test", test), ("validation", validation)):
            require_whole("LeaveLastN", name, value, minimum=0, hint="the number of rows of each query")
        require_fraction("LeaveLastN", "validation_queries", validation_queries)
        self.test, self.validation = test, validation
        if not is_whole(seed):
            raise UserError(f"LeaveLastN: seed is {seed!r}; it must be a whole number")
        self.validation_queries, self.seed = validation_queries, seed

    def _folds(self, tables: Tables) -> FoldArray:
        order = _time(self, tables).rank("ordinal").to_numpy().astype(np.int64) - 1
        fold, query = np.empty(len(order), np.int8), query_codes(tables)
        for rows, place, size in places(query, order):
            tests, validates = self._has_rows(query, query[rows])
            test = np.minimum(min(int(self.test), len(order)), size - 1) * tests
            validation = np.minimum(min(int(self.validation), len(order)), size - 1 - test) * validates
            fold[rows] = assign_folds(size - 1 - place, test, validation)
        return fold

    def _has_rows(self, query: IntArray, rows: IntArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return whether the queries (n,) of some rows have test rows, and whether they have validation rows."""
        if self.validation_queries is None:
            return np.ones(len(rows), np.bool_), np.ones(len(rows), np.bool_)
        Q = int(query.max(initial=-1)) + 1
        validates = (shuffled(Q, self.seed) < part_size(Q, self.validation_queries))[rows]
        return ~validates, validates


class ByTime(Split):
    """Hold out the latest interactions of all: test rows last, validation rows before them, training rows first.

    Rows with equal times are never separated. All of them go to the later fold, which can become larger than requested.

    ``folds`` gives a rolling evaluation: that many windows in a row, each of the size ``test``; the last one ends with
    the data. The test rows are those of one window. The validation rows lie before it, and everything before these
    is for training. Rows after the window are left out, as if they had not happened yet.

    Args:
        test: fraction of the rows in the test fold.
        validation: fraction of the rows in the validation fold.
        folds: number of windows.
        fold: which window is the test fold, from 0, the earliest one; None = the latest one.

    Raises:
        UserError: a window that does not exist; windows that leave nothing for training; several windows of no rows.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": range(4), "candidate_id": [5] * 4, "year": [2001, 2004, 2002, 2003]})
        >>> tables = Frames(events, time="year").tables().resolve([], [])
        >>> ByTime(test=0.25, validation=0.25).assign(tables).tolist()
        [0, 2, 0, 1]
        >>> ByTime(test=0.25, validation=0.25, folds=2, fold=0).assign(tables).tolist()  # the row of 2004 is left out
        [0, 3, 1, 2]
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, folds: int = 1, fold: int | None = None) -> None:
        self._set_fractions(test, validation)
        require_whole("ByTime", "folds", folds, hint="the number of windows of a rolling evaluation")
        require_whole("ByTime", "fold", fold, minimum=0, hint="which window is tested; 0 is the earliest one")
        if fold is not None and fold >= folds:
            raise UserError(f"ByTime: fold is {fold}, but folds is {folds}; choose a fold from 0 to {folds - 1}")
        if folds > 1 and not test:
            raise UserError(f"ByTime: folds is {folds}, but test is {test}; give the windows a size, such as test: 0.1")
        if test * folds + validation >= 1:
            raise UserError(
                f"ByTime: {folds} folds of test {test} and validation {validation} leave no rows for training"
            )
        self.folds, self.fold = folds, folds - 1 if fold is None else fold
        self.leaves_rows_out = self.fold < folds - 1

    def _folds(self, tables: Tables) -> FoldArray:
        times = _time(self, tables)
        wide = isinstance(times.dtype, pl.Decimal | pl.Int128 | pl.UInt128)  # NumPy has no such numbers
        time = (times.rank("dense") if wide else times.to_physical()).to_numpy()
        R = len(time)
        test, validation = int(part_size(R, self.test)), int(part_size(R, self.validation))
        later = test * (self.folds - 1 - self.fold)  # rows of the windows after this one
        sizes = ((VALIDATION, later + test + validation), (TEST, later + test), (LEFT_OUT, later))
        first_places = {code: R - size for code, size in sizes if size}
        ordered = np.partition(time, np.array(list(first_places.values()), np.int64))
        fold = np.full(R, TRAIN, np.int8)
        for code, place in first_places.items():
            fold[time >= ordered[place]] = code  # at most the requested number of rows have a strictly later time
        return fold


def _time(split: Split, tables: Tables) -> pl.Series:
    """Return the time column of the interactions, (R,) without missing values."""
    owner, name, columns = type(split).__name__, tables.keys.time, tables.interactions.columns
    if name is None or name not in columns:
        found = "the source's `time` names no column" if name is None else f"there is no column {name!r}"
        raise UserError(f"{owner} needs a time, but {found}; interactions has {', '.join(columns)}")
    time = tables.interactions[name]
    missing = (time.fill_nan(None) if time.dtype.is_float() else time).null_count()
    if missing:
        raise UserError(f"{owner}: time column {name!r} is missing in {missing} of {len(time)} rows")
    return time
