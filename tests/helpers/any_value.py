"""Strategies of Hypothesis for raw values and for columns of every type of Polars."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from hypothesis import settings
from hypothesis import strategies as st

QUICK = settings(max_examples=80, derandomize=True, deadline=None, database=None)
"""The same examples in every run, and few of them."""

LETTERS = st.characters(exclude_categories=["Cs"])
NUMBER_TEXTS = st.sampled_from(
    ["7", "7.0", "1e3", " 12 ", "", "nan", "inf", "true", "1,5", "-0", "2024-01-31", "10:20"]
)
TEXTS = st.one_of(
    st.text(LETTERS, max_size=6), NUMBER_TEXTS, st.sampled_from(["a", "b", "a|b", "é\u0301", "2024-01-31T10Z"])
)
FLOATS = st.one_of(st.floats(), st.sampled_from([7.0, 8.0, 0.1, 1e300, 2.0**53, 2.0**60]))
INTEGERS = st.one_of(st.integers(-5, 9), st.integers(-(2**70), 2**70))
DATES = st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1))
MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))
ZONES = st.timezones(no_cache=False)
DURATIONS = st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999))
DECIMALS = st.decimals(-(10**9), 10**9, allow_nan=False, places=3)

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    pl.Boolean: st.booleans(),
    pl.String: TEXTS,
    pl.Float32: st.floats(width=32),
    pl.Float64: FLOATS,
    pl.Date: DATES,
    pl.Datetime("ms"): MOMENTS,
    pl.Datetime("us"): MOMENTS,
    pl.Datetime("ns"): MOMENTS,
    pl.Datetime("us", "Europe/Berlin"): MOMENTS,
    pl.Time: st.times(),
    pl.Duration("us"): DURATIONS,
    pl.Decimal(20, 3): DECIMALS,
    pl.Binary: st.binary(max_size=4),
    pl.Null: st.none(),
    pl.Enum(["a", "b", "7"]): st.sampled_from(["a", "b", "7"]),
    pl.Categorical: TEXTS,
    pl.Int128: INTEGERS,
    **{kind: st.integers(0, 100) for kind in (pl.Int8, pl.Int16, pl.UInt8, pl.UInt16, pl.UInt32)},
    **{kind: st.integers(-(2**31), 2**31 - 1) for kind in (pl.Int32, pl.Int64)},
    pl.UInt64: st.integers(0, 2**64 - 1),
}
"""The types of Polars that hold one value each, and their values."""


@st.composite
def columns(draw: st.DrawFn, lists: bool = True) -> pl.Series:
    """A column of a few rows, of any type; with ``lists``, also of lists, arrays and structs."""
    dtype = draw(st.sampled_from(list(PLAIN)))
    value = st.none() | PLAIN[dtype]
    size = draw(st.integers(1, 4))
    form = draw(st.sampled_from(["plain", "list", "array", "struct", "object"] if lists else ["plain"]))
    if form == "list":
        return _series(
            draw(st.lists(st.none() | st.lists(value, max_size=3), min_size=size, max_size=size)), pl.List(dtype)
        )
    if form == "array":
        values = draw(st.lists(st.lists(value, min_size=2, max_size=2), min_size=size, max_size=size))
        return _series(values, pl.Array(dtype, 2))
    if form == "struct":
        values = draw(st.lists(st.fixed_dictionaries({"id": value, "seconds": value}), min_size=size, max_size=size))
        return _series(values, pl.Struct({"id": dtype, "seconds": dtype}))
    if form == "object":
        return pl.Series("x", draw(st.lists(raw_values(), min_size=size, max_size=size)), dtype=pl.Object)
    return _series(draw(st.lists(value, min_size=size, max_size=size)), dtype)


def _series(values: list[Any], dtype: Any) -> pl.Series:
    zone = getattr(dtype, "time_zone", None)
    if zone is not None:
        return pl.Series("x", values, dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    inner = getattr(dtype, "inner", None)
    if getattr(inner, "time_zone", None) is not None or inner in (pl.Categorical, pl.Null):
        dtype = pl.List(pl.String) if inner == pl.Categorical else pl.List(pl.Date)
        values = [] if inner != pl.Categorical else values
        return pl.Series("x", values or [None], dtype=dtype)
    return pl.Series("x", values, dtype=dtype)


def scalars() -> st.SearchStrategy[Any]:
    """Values as Python, NumPy and JSON have them, halves of surrogate pairs included."""
    python = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS, DATES, MOMENTS, st.datetimes(timezones=ZONES))
    numpy = st.one_of(
        st.integers(-100, 100).map(np.int16),
        st.floats(width=32).map(np.float32),
        FLOATS.map(np.float64),
        st.booleans().map(np.bool_),
        TEXTS.map(np.str_),
        MOMENTS.map(np.datetime64),
    )
    odd = st.one_of(
        DECIMALS, st.just(Decimal("NaN")), st.times(), DURATIONS, st.binary(max_size=3), st.text(max_size=3)
    )
    odd = odd | st.sampled_from(["\ud800", "a\udfffb", 10**500, 1j, float("inf")])
    return st.one_of(python, python, numpy, odd)


def raw_values() -> st.SearchStrategy[Any]:
    """Scalars, lists of scalars, and deeper nesting."""
    entry = st.fixed_dictionaries({"id": scalars(), "seconds": scalars()})
    deep = st.recursive(scalars(), lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=1), each))
    lists = st.lists(scalars(), max_size=3)
    return st.one_of(scalars(), lists, lists.map(tuple), st.lists(entry, max_size=2), deep)


def nested(depth: int) -> list[Any]:
    """Lists in lists, deeper than Python's own limit of calls."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value
