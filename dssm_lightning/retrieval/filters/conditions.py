"""What a filter consists of, and the rows that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.retrieval.filters.columns import NOTHING, NUMBERS, TEXTS, TIMES, TRUTHS, Column, Mask
from dssm_lightning.retrieval.filters.times import ORDERS, compared, seconds_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

Value = str | int | float | bool | None
"""A value that stands in a filter."""


@dataclass(frozen=True)
class And:
    """All of several conditions."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """At least one of several conditions."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    part: Condition


@dataclass(frozen=True)
class Compare:
    """A column's value compares so with one of several values."""

    column: str
    operator: str  # = < <= > >=
    values: tuple[Value, ...]
    bare: bool = False  # the column's name stands alone


Condition = And | Or | Not | Compare


@dataclass(frozen=True)
class Filter:
    """A parsed filter. Make one with :func:`~dssm_lightning.retrieval.filters.parse_filter`.

    Attributes:
        text: the filter as it was written.
        condition: the root of its tree.

    Example:
        >>> from dssm_lightning.retrieval.filters import parse_filter
        >>> kept = parse_filter("year > 1990")
        >>> kept.columns
        ['year']
        >>> kept.mask({"year": np.array([1989, 1991])}).tolist()
        [False, True]
    """

    text: str
    condition: Condition

    @property
    def columns(self) -> list[str]:
        """The names of the columns that the filter reads, in the order of the alphabet."""
        return sorted({each.column for each in _comparisons(self.condition)})

    def mask(self, columns: Mapping[str, ArrayLike | Column]) -> Mask:
        """Return which rows (N,) the filter keeps.

        Args:
            columns: by name an array (N,) of numbers, truth values, texts or times, or a list of N of these, of lists
                of these, or of None.

        Raises:
            UserError: an unknown column; columns of different lengths; a value of another type than the column's.
        """
        names = [str(each) for each in columns]
        for name in self.columns:
            if name not in columns:
                raise UserError(f"filter: there is no column {name!r}; columns are {names}{did_you_mean(name, names)}")
        given = {name: columns[name] for name in self.columns}
        read = {name: each if isinstance(each, Column) else Column.of(name, each) for name, each in given.items()}
        lengths = {name: len(column.missing) for name, column in read.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f"filter: the columns have different lengths: {lengths}")
        return _mask(self.condition, read)


def _comparisons(condition: Condition) -> list[Compare]:
    if isinstance(condition, Compare):
        return [condition]
    parts = (condition.part,) if isinstance(condition, Not) else condition.parts
    return [each for part in parts for each in _comparisons(part)]


def _mask(condition: Condition, columns: Mapping[str, Column]) -> Mask:
    if isinstance(condition, Not):
        return ~_mask(condition.part, columns)
    if isinstance(condition, Compare):
        return _compared(condition, columns[condition.column])
    combine = np.logical_and if isinstance(condition, And) else np.logical_or
    mask = _mask(condition.parts[0], columns)
    for part in condition.parts[1:]:
        mask = combine(mask, _mask(part, columns))
    return mask


def _compared(condition: Compare, column: Column) -> Mask:
    present = [_checked(value, condition, column) for value in condition.values if value is not None]
    if column.values.dtype == object:  # numpy would take a single text without the NUL characters at its end
        present = [np.array(value, object) for value in present] if len(present) == 1 else present
    if None in condition.values and condition.operator != "=":
        raise UserError(f"filter: column {condition.column!r}: null has no order; use = null or != null")
    fits = np.zeros(len(column.values), bool)
    if column.kind == NOTHING:
        pass
    elif column.kind == TIMES:
        fits = compared(column.values, condition.operator, present)
    elif condition.operator != "=":
        fits = np.asarray(ORDERS[condition.operator](column.values, present[0]), bool)
    elif len(present) == 1:
        fits = np.asarray(column.values == present[0], bool)
    elif present:
        fits = _isin(column.values, present)
    found = column.rows_with(fits)
    return found | column.missing if None in condition.values else found


def _isin(values: NDArray[Any], wanted: list[Any]) -> Mask:
    """Whether each value is one of the wanted ones; whole numbers are compared exactly."""
    if values.dtype.kind in "iu":
        bounds = np.iinfo(values.dtype)
        whole = [int(each) for each in wanted if each == int(each) and bounds.min <= each <= bounds.max]
        return np.isin(values, np.array(whole, values.dtype))
    if values.dtype == object:
        known = set(wanted)
        return np.fromiter((each in known for each in values), bool, len(values))
    return np.isin(values, np.array(wanted))


def _checked(value: Value, condition: Compare, column: Column) -> Any:
    """Return a value in the form in which the column can be compared with it."""
    name, kind = condition.column, column.kind
    of = TRUTHS if isinstance(value, bool) else TEXTS if isinstance(value, str) else NUMBERS
    if kind == TIMES and isinstance(value, str):
        return seconds_of(name, value)
    if kind not in (of, NOTHING):
        what = "its name alone stands for truth" if condition.bare else f"{value!r} is one of {of}"
        raise UserError(f"filter: column {name!r} holds {kind}, but {what}")
    if kind == TRUTHS and condition.operator != "=":
        raise UserError(f"filter: column {name!r} holds truth values, which have no order; use = or !=")
    if column.values.dtype.kind == "f" and of == NUMBERS and kind == NUMBERS:
        return _as_float(value, column.values.dtype)
    return value


def _as_float(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a number in the column's precision: .1 in a filter is the .1 of the column. A great one is infinite."""
    try:
        with np.errstate(over="ignore"):
            return dtype.type(value)
    except OverflowError:  # a whole number above 1e308
        return dtype.type(np.inf if value > 0 else -np.inf)
