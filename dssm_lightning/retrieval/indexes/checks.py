"""Checks of what is given to an index: vectors, rows, masks, and the number of answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.retrieval.indexes.index_files import MOST_COLUMNS
from dssm_lightning.retrieval.indexes.row_stores import Floats, Places, parts_of
from dssm_lightning.utils.errors import UserError, is_whole


def checked_vectors(values: ArrayLike, name: str, empty: bool = False, finite: bool = True) -> Floats:
    """Return finite vectors as a contiguous float32 table.

    Args:
        values: the vectors.
        name: what they are, for messages.
        empty: whether there may be no row.
        finite: whether each number is looked at; False: the caller has done so.

    Raises:
        UserError: another number of dimensions, no number, no row, or a number that is not finite in float32.

    Example:
        >>> checked_vectors([[1, 2]], "queries").dtype.name
        'float32'
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            raise ValueError(array.dtype)
    except ValueError as error:
        raise UserError(f"{name} must be a table of numbers, one row for each vector") from error
    if array.ndim != 2 or array.shape[1] < 1 or (len(array) < 1 and not empty):
        raise UserError(f"{name} have the shape {array.shape}; it must be (rows, width), with at least one of each")
    if array.shape[1] > MOST_COLUMNS:
        raise UserError(f"{name} are {array.shape[1]:,} wide; at most {MOST_COLUMNS:,} is possible")
    floats = _as_floats(array)
    for start, part in parts_of(floats) if finite else ():
        if not np.isfinite(part).all():
            row = start + int(np.argmin(np.isfinite(part).all(1)))
            raise UserError(f"{name}: row {row} has a number that is not finite")
    return floats


def _as_floats(array: NDArray[Any]) -> Floats:
    """Return the array as contiguous float32: the same memory, if it is that already."""
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return np.asarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def checked_rows(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return the ascending numbers (N,) by which answers name vectors.

    Raises:
        UserError: another type or length, or numbers that do not ascend from 0 or more.

    Example:
        >>> checked_rows([2, 5], 2).tolist()
        [2, 5]
    """
    numbers = np.asarray(rows)
    if numbers.dtype.kind not in "iu" or numbers.shape != (count,):
        raise UserError(f"rows are {numbers.dtype} of shape {numbers.shape}; they must be {count:,} whole numbers")
    numbers = numbers.astype(np.int64)
    if numbers[0] < 0 or (np.diff(numbers) <= 0).any():
        raise UserError("rows must ascend from 0 or more, each number once")
    return numbers


def checked_places(allowed: ArrayLike, count: int) -> Places | None:
    """Return the places that a mask (N,) allows, ascending; None if it allows all.

    Raises:
        UserError: no truth values, or another number of them.

    Example:
        >>> checked_places([True, False, True], 3).tolist()
        [0, 2]
    """
    mask = np.asarray(allowed)
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise UserError(
            f"allowed is an array of {mask.dtype} of shape {mask.shape}; it must be {count:,} truth values, one for "
            "each vector"
        )
    return None if mask.all() else np.flatnonzero(mask)


def require_k(k: int, count: int, left: int) -> None:
    """Refuse a number of answers that is not from 1 to the number of vectors that may be found.

    Args:
        k: the number of answers.
        count: the number of vectors.
        left: the number of vectors that may be found.

    Raises:
        UserError: k is no whole number, is below 1, or above ``left``.

    Example:
        >>> require_k(5, count=3, left=2)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: k is 5; the index has 3 vectors, 2 of them allowed: choose a k from \
1 to 2
    """
    if not is_whole(k):
        raise UserError(f"k is {k!r}; it must be a whole number, at least 1")
    if not 1 <= k <= left:
        of = f"{count:,} vectors" + ("" if left == count else f", {left:,} of them allowed")
        advice = f"choose a k from 1 to {left:,}" if left else "none can be found"
        raise UserError(f"k is {k}; the index has {of}: {advice}")


def require_engine(package: str, extra: str, error: ImportError) -> UserError:
    """Return the error that names the extra to install."""
    return UserError(f"{package} is not installed: pip install 'dssm-lightning[{extra}]' ({error})")
