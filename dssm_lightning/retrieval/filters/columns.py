"""Columns of the candidates, of one kind each, ready to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import UserError

Mask = NDArray[np.bool_]
NUMBERS, TEXTS, TRUTHS, TIMES, NOTHING = "numbers", "texts", "truth values", "times", "missing values"


@dataclass(frozen=True)
class Column:
    """The values of N rows, one for each row or any number of them.

    Example:
        >>> column = Column.of("genre", [["Drama", "War"], None, []])
        >>> column.kind, column.rows.tolist(), column.missing.tolist()
        ('texts', [0, 0], [False, True, True])
    """

    kind: str
    values: NDArray[Any]  # (T,) present values of all rows
    rows: NDArray[np.int64] | None  # (T,) the row of each value; None: one value for each row, none missing
    missing: Mask  # (N,) rows without a value

    @classmethod
    def of(cls, name: str, column: Any) -> Column:
        """Return the column of an array, or of a list of values, of lists or of None.

        Raises:
            UserError: values of several kinds, or of none that can be compared.
        """
        if isinstance(column, np.ma.MaskedArray):
            column = column.tolist()  # None where a value is masked
        if isinstance(column, np.ndarray) and column.dtype != object:
            return cls._of_array(name, column)
        if isinstance(column, str) or not hasattr(column, "__iter__") or getattr(column, "ndim", 1) == 0:
            raise UserError(f"column {name!r} is {type(column).__name__}; it must be an array or a list")
        given: list[Any] = list(column)
        lists = any(isinstance(each, list | tuple | np.ndarray) for each in given)
        if lists and any(each is not None and not isinstance(each, list | tuple | np.ndarray) for each in given):
            raise UserError(f"column {name!r} holds lists and single values; it must hold one of both")
        entries: list[Any] = [() if each is None else each for each in given] if lists else [(each,) for each in given]
        lengths = np.array([len(each) for each in entries], np.int64)
        flat = list(chain.from_iterable(entries))
        present = np.array([not _is_missing(each) for each in flat], bool)
        rows = np.repeat(np.arange(len(given)), lengths)[present]
        kind, values = _values(name, [each for each, kept in zip(flat, present, strict=True) if kept])
        missing = np.ones(len(given), bool)
        missing[rows] = False
        return cls(kind, values, rows, missing)

    @classmethod
    def _of_array(cls, name: str, column: NDArray[Any]) -> Column:
        if column.ndim == 2:  # as many values in each row
            return cls.of(name, list(column))
        kinds = {"f": NUMBERS, "i": NUMBERS, "u": NUMBERS, "b": TRUTHS, "U": TEXTS, "M": TIMES}
        kind = kinds.get(column.dtype.kind)
        if kind is None or column.ndim != 1:
            raise UserError(
                f"column {name!r} is an array of {column.dtype} with {column.ndim} dimensions: no filter reads it"
            )
        missing = np.zeros(len(column), bool)
        if column.dtype.kind == "f":
            missing = np.isnan(column)
        elif column.dtype.kind == "M":
            missing = np.isnat(column)
        rows = np.flatnonzero(~missing) if missing.any() else None
        return cls(kind, column if rows is None else column[rows], rows, missing)

    def rows_with(self, fits: Mask) -> Mask:
        """Return the rows (N,) of which a value fits; ``fits``: (T,)."""
        if self.rows is None:
            return fits
        found = np.zeros(len(self.missing), bool)
        found[self.rows[fits]] = True
        return found


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating | np.datetime64) and value != value)


def _values(name: str, values: list[Any]) -> tuple[str, NDArray[Any]]:
    kinds = {_kind(each) for each in {type(each): each for each in values}.values()}
    if not kinds:
        return NOTHING, np.empty(0)
    if len(kinds) > 1 or "" in kinds:
        found = sorted({type(each).__name__ for each in values})
        raise UserError(f"column {name!r} holds {found}; a filter reads texts, numbers, truth values or times")
    kind = kinds.pop()
    if kind == TIMES:
        return kind, np.array(values, None if isinstance(values[0], np.datetime64) else "datetime64[us]")
    return kind, np.array(values, object if kind == TEXTS else None)  # object: of any length


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return TRUTHS
    if isinstance(value, int | float | np.integer | np.floating):
        return NUMBERS
    if isinstance(value, np.datetime64 | date) and getattr(value, "tzinfo", None) is None:
        return TIMES  # a datetime is a date
    return TEXTS if isinstance(value, str) else ""
