"""Splits that hold out the latest rows: of each query, or of all rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import query_codes
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, part_size, places
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError, require_whole


class LeaveLastN(Split):
    """Hold out the last interactions of each query by time: test rows last, validation rows before them.

    1 and 1 is known as "leave one out". Rows with equal times keep the order of the table. Each query keeps its first
    row for training: of two rows, one is a test row and none is a validation row.

    Args:
        test: number of test rows of each query.
        validation: number of validation rows of each query.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1] * 4, "candidate_id": [5, 6, 7, 8], "year": [2001, 2004, 2002, 2003]})
        >>> LeaveLastN().assign(Frames(events, time="year").tables().resolve([], [])).tolist()
        [0, 2, 0, 1]
    """

    def __init__(self, test: int = 1, validation: int = 1) -> None:
        for name, value in (("test", test), ("validation", validation)):
            require_whole("LeaveLastN", name, value, minimum=0, hint="the number of rows of each query")
        self.test, self.validation = test, validation

    def _folds(self, tables: Tables) -> FoldArray:
        order = _time(self, tables).rank("ordinal").to_numpy().astype(np.int64) - 1
        fold = np.empty(len(order), np.int8)
        for rows, place, size in places(query_codes(tables), order):
            test = np.minimum(min(int(self.test), len(order)), size - 1)
            validation = np.minimum(min(int(self.validation), len(order)), size - 1 - test)
            fold[rows] = assign_folds(size - 1 - place, test, validation)
        return fold


class ByTime(Split):
    """Hold out the latest interactions of all: test rows last, validation rows before them, training rows first.

    Rows with equal times are never separated. All of them go to the later fold, which can become larger than requested.

    Args:
        test: fraction of the rows in the test fold.
        validation: fraction of the rows in the validation fold.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": range(4), "candidate_id": [5] * 4, "year": [2001, 2004, 2002, 2003]})
        >>> split = ByTime(test=0.25, validation=0.25)
        >>> split.assign(Frames(events, time="year").tables().resolve([], [])).tolist()
        [0, 2, 0, 1]
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1) -> None:
        self._set_fractions(test, validation)

    def _folds(self, tables: Tables) -> FoldArray:
        times = _time(self, tables)
        wide = isinstance(times.dtype, pl.Decimal | pl.Int128 | pl.UInt128)  # NumPy has no such numbers
        time = (times.rank("dense") if wide else times.to_physical()).to_numpy()
        R = len(time)
        test, validation = int(part_size(R, self.test)), int(part_size(R, self.validation))
        first_places = {code: R - size for code, size in ((VALIDATION, test + validation), (TEST, test)) if size}
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
