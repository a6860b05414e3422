"""Raw values, as queries and lists have them, as columns in which each value keeps its own type."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dssm_lightning.features.raw_values import HALF, is_unicode, plain, shown
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl

_PLAIN = {str, bool, int, float, type(None)}
"""Types whose values stay as they are in lists."""


def raw_column(values: Sequence[Any], name: str = "") -> pl.Series:
    """Return raw values (B,), as a query or a list has them, as a column in which each keeps its own type.

    Values of one plain type make a column of that type. Other values make a column of type Object, which every feature
    reads value by value: 7.0 beside "8" stays a float.

    Raises:
        UserError: a text that is not valid Unicode.

    Example:
        >>> raw_column([7, None]).dtype, raw_column(["7", 8.0]).dtype, raw_column([["a"], []]).dtype
        (Int64, Object, List(String))
    """
    import polars as pl

    given = [plain(value) for value in values]
    present = [value for value in given if value is not None]
    if present and all(type(value) is list for value in present):
        return _list_column(given, name)
    dtype = _dtype(present)
    try:
        return pl.Series(name, given, dtype=dtype)
    except UnicodeEncodeError as error:
        raise _no_unicode(name, present) from error


def _list_column(given: list[Any], name: str) -> pl.Series:
    """Return a column of lists and None; lists of values of one plain type are typed."""
    import polars as pl

    lists = given
    if not {type(entry) for value in given if value is not None for entry in value} <= _PLAIN:
        lists = [None if value is None else [plain(entry) for entry in value] for value in given]
    inner = _dtype([entry for value in lists if value is not None for entry in value if entry is not None])
    if inner == pl.Object:
        return pl.Series(name, lists, dtype=pl.Object)
    try:
        return pl.Series(name, lists, dtype=pl.List(inner))
    except UnicodeEncodeError as error:
        raise _no_unicode(name, [entry for value in lists if value is not None for entry in value]) from error


def _dtype(present: list[Any]) -> Any:
    """Return the type of a column of plain values without None."""
    import polars as pl

    kinds = {type(value) for value in present}
    if not kinds:
        return pl.Null()
    if kinds == {int}:
        return pl.Int64() if all(-(2**63) <= value < 2**63 for value in present) else pl.Object()
    if kinds == {datetime.datetime}:
        return pl.Datetime("us")
    return _types().get(kinds.pop(), pl.Object()) if len(kinds) == 1 else pl.Object()


@cache
def _types() -> dict[type, pl.DataType]:
    import polars as pl

    return {
        str: pl.String(),
        bool: pl.Boolean(),
        float: pl.Float64(),
        bytes: pl.Binary(),
        datetime.date: pl.Date(),
    }


def _no_unicode(name: str, texts: list[Any]) -> UserError:
    wrong = next(text for text in texts if isinstance(text, str) and not is_unicode(text))
    return UserError(f"column {name!r}: {shown(wrong)} {HALF}")
