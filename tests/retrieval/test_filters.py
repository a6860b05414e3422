"""Filters keep the rows that a plain Python expression keeps, and refuse everything else in one line."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dssm_lightning.retrieval.filters import Filter, parse_filter
from dssm_lightning.retrieval.filters.columns import Column
from dssm_lightning.utils.errors import UserError

COLUMNS: dict[str, Any] = {
    "category": ["Animals & Nature", "Food", "it's", 'a "b"', None],
    "year": np.array([1990, 1991, 2000, 1985, 2010]),
    "price": [1.5, None, 3.0, float("nan"), 2],
    "genre": [["Drama", "War"], ["War"], [], None, ["Comedy", "Drama"]],
    "seen": np.array([True, False, False, True, False]),
    "maybe": [True, None, False, True, None],
    "stars": [[1, 5], [3], [], [4.5], [2, 2]],
    "added": np.array(["2024-01-01", "2024-06-30", "NaT", "2023-12-31", "2025-01-01"], "datetime64[s]"),
    "label": np.array(["a", "b", "B", "é", ""]),
    "release year": [1, 2, 3, 4, 5],
    "nothing": [None] * 5,
    "in_stock": [1, 0, 1, 0, 1],
    "android": [0, 1, 1, 1, 1],
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("category = 'Animals & Nature'", [0]),
        ('category = "Animals & Nature"', [0]),
        ("category = 'it\\'s'", [2]),
        ('category = "it\'s"', [2]),
        ("category = 'a \\\"b\\\"'", [3]),
        ("category = 'F\\u006fod'", [1]),
        ("category != 'Food'", [0, 2, 3, 4]),
        ("category = null", [4]),
        ("category != null", [0, 1, 2, 3]),
        ("category in ('Food', null)", [1, 4]),
        ("category not in ('Food', null)", [0, 2, 3]),
        ("category < 'G'", [0, 1]),
        ("year > 1990", [1, 2, 4]),
        ("year >= 1990", [0, 1, 2, 4]),
        ("year < 1990.5", [0, 3]),
        ("year <= 1990", [0, 3]),
        ("year = 2000.0", [2]),
        ("year = 2e3", [2]),
        ("year in (1985, 2000.0, 1990.5, 99999999999999999999)", [2, 3]),
        ("year = 99999999999999999999", []),
        ("year<99999999999999999999", [0, 1, 2, 3, 4]),
        ("year > -1", [0, 1, 2, 3, 4]),
        ("price = null", [1, 3]),
        ("price > 1", [0, 2, 4]),
        ("price != 3", [0, 1, 3, 4]),
        ("not price > 2", [0, 1, 3, 4]),
        ("genre = 'Drama'", [0, 4]),
        ("genre in ('Comedy', 'War')", [0, 1, 4]),
        ("genre != 'War'", [2, 3, 4]),
        ("genre = null", [2, 3]),
        ("stars > 4", [0, 3]),
        ("stars = 2", [4]),
        ("seen", [0, 3]),
        ("not seen", [1, 2, 4]),
        ("seen = false", [1, 2, 4]),
        ("seen != TRUE", [1, 2, 4]),
        ("maybe", [0, 3]),
        ("not maybe", [1, 2, 4]),
        ("maybe = false", [2]),
        ("seen in (true, false)", [0, 1, 2, 3, 4]),
        ("added > '2024-01-01'", [1, 4]),
        ("added = '2024-01-01 00:00'", [0]),
        ("added in ('2024-06-30', '2025-01-01T00:00:00', null)", [1, 2, 4]),
        ("label = 'é'", [3]),
        ("label in ('B', '')", [2, 4]),
        ("label >= 'a'", [0, 1, 3]),
        ("`release year` >= 4", [3, 4]),
        ("nothing = null", [0, 1, 2, 3, 4]),
        ("nothing = 1 or nothing < 'x' or nothing in (1, 'a') or nothing", []),
        ("in_stock = 1 AND android = 1", [2, 4]),
        ("year > 1990 and seen or year < 1990", [3]),
        ("year < 1990 or year > 1990 and seen", [3]),
        ("(year < 1990 or year > 1990) and not seen", [1, 2, 4]),
        ("not seen and year = 1991", [1]),
        ("not (seen and year = 1990)", [1, 2, 3, 4]),
        ("not not seen", [0, 3]),
        ("  ( ( seen ) )\n", [0, 3]),
        (
            "category = 'Animals & Nature' and year > 1980 and genre in ('Drama', 'War') and not seen = false",
            [0],
        ),
    ],
)
def test_it_keeps_these_rows(text: str, rows: list[int]) -> None:
    mask = parse_filter(text).mask(COLUMNS)
    assert mask.dtype == np.bool_
    assert mask.shape == (5,)
    assert np.flatnonzero(mask).tolist() == rows


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@settings(max_examples=100, deadline=None)
@given(WORDS, st.lists(WORDS | st.none(), min_size=1, max_size=6), st.sampled_from("'\""))
def test_any_text_can_be_quoted(word: str, values: list[str | None], quote: str) -> None:
    written = quote + word.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
    for text, operator in ((f"x = {written}", str.__eq__), (f"x > {written}", str.__gt__)):
        kept = parse_filter(text).mask({"x": [*values, word]})
        assert kept.tolist() == [each is not None and operator(each, word) for each in [*values, word]]


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> str:
    """Text that is a filter and a Python expression at once."""
    kinds = ["compare", "in", "name"] + (["and", "or", "not", "brackets"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    inner = expressions(depth - 1)
    if kind == "compare":
        return f"a {draw(st.sampled_from(['<', '<=', '>', '>=', '!=']))} {draw(st.integers(-3, 3))}"
    if kind == "in":
        return f"a in ({draw(st.integers(-3, 3))}, {draw(st.integers(-3, 3))})"
    if kind == "name":
        return "b"
    if kind == "not":
        return f"not ({draw(inner)})"
    return f"({draw(inner)})" if kind == "brackets" else f"{draw(inner)} {kind} {draw(inner)}"


@settings(max_examples=150, deadline=None)
@given(expressions())
def test_precedence_is_pythons(text: str) -> None:
    a, b = np.repeat(np.arange(-3, 4), 2), np.tile([True, False], 7)
    expected = [eval(text, {"a": x, "b": y}) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert parse_filter(text).mask({"a": a, "b": b}).tolist() == expected


def test_large_numbers_are_compared_exactly() -> None:
    ids = np.array([2**53, 2**53 + 1, -5])
    assert parse_filter(f"id = {2**53 + 1}").mask({"id": ids}).tolist() == [False, True, False]
    assert parse_filter(f"id in ({2**53 + 1}, 7)").mask({"id": ids}).tolist() == [False, True, False]
    assert parse_filter(f"id = {2**70}").mask({"id": [2**70, 1]}).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_fraction_is_that_of_the_column(dtype: type) -> None:
    """.1 in float32 is not the .1 of a filter in float64."""
    column = np.array([0.1, 0.2, np.nan], dtype)
    assert parse_filter("x = 0.1").mask({"x": column}).tolist() == [True, False, False]
    assert parse_filter("x in (0.1, 0.7)").mask({"x": column}).tolist() == [True, False, False]
    assert parse_filter("x <= 0.1").mask({"x": column}).tolist() == [True, False, False]


HUGE = "1" + "0" * 400


@pytest.mark.parametrize("number", ["1e300", HUGE])
@pytest.mark.parametrize("column", [np.array([1, 2], np.float32), np.array([1, 2]), [1.5, 2], [1, 2], [2**70, 1]])
def test_numbers_that_the_column_cannot_hold(number: str, column: Any) -> None:
    for text, expected in (("x < {}", True), ("x > {}", False), ("x = {}", False), ("x >= -{}", True)):
        assert parse_filter(text.format(number)).mask({"x": column}).tolist() == [expected] * 2
    assert parse_filter(f"x in ({number}, 7)").mask({"x": column}).tolist() == [False] * 2


@pytest.mark.parametrize("unit", ["D", "h", "s", "ms", "us", "ns", "10ms"])
def test_times_of_any_unit_and_year(unit: str) -> None:
    """numpy alone says that in nanoseconds 9999-01-01 is before 2024."""
    times = np.array(["2024-01-01", "2024-06-30", "NaT", "1700-01-01"], f"datetime64[{unit}]")
    for text, expected in (
        ("x < '9999-01-01'", [0, 1, 3]),
        ("x > '0001-01-01'", [0, 1, 3]),
        ("x = '9999-01-01'", []),
        ("x in ('9999-01-01', '2024-06-30 00:00:00.000000000')", [1]),
        ("x > '2024-01-01 00:00:00.000000001'", [1]),
        ("x >= '2023-12-31 23:59:59.999999999'", [0, 1]),
        ("x <= '2024-01-01 00:00:00.000000001'", [0, 3]),
        ("x = '2024-01-01 00:00:00.000000001'", []),
    ):
        assert np.flatnonzero(parse_filter(text).mask({"x": times})).tolist() == expected
    far = np.array(["9999-12-31"], "datetime64[us]")
    assert parse_filter("x > '2024-01-01 00:00:00.123456789'").mask({"x": far}).tolist() == [True]


def test_columns_of_other_libraries() -> None:
    days = [date(2024, 1, 1), None, date(9999, 12, 31)]
    assert parse_filter("x > '2024-01-01'").mask({"x": days}).tolist() == [False, False, True]
    moments = [datetime(2024, 1, 1, 12), datetime(2024, 1, 2)]
    assert parse_filter("x = '2024-01-01 12:00'").mask({"x": moments}).tolist() == [True, False]
    masked = np.ma.array([1, 1], mask=[True, False])
    assert parse_filter("x = 1").mask({"x": masked}).tolist() == [False, True]
    assert parse_filter("x = null").mask({"x": masked}).tolist() == [True, False]
    assert parse_filter("x in ('b')").mask({"x": Column.of("x", ["a", "b"])}).tolist() == [False, True]


@pytest.mark.parametrize("column", [None, 5, "text", np.array(3), [datetime(2024, 1, 1, tzinfo=timezone.utc)], [b"a"]])
def test_what_is_no_column(column: Any) -> None:
    with pytest.raises(UserError, match="column 'x'"):
        parse_filter("x = 1").mask({"x": column})


def test_a_filter_knows_its_columns_and_is_a_value() -> None:
    kept = parse_filter("b = 1 or not (a in (1, 2) and b > 2)")
    assert isinstance(kept, Filter)
    assert kept.columns == ["a", "b"]
    assert kept == parse_filter("b = 1 or not (a in (1, 2) and b > 2)")
    hash(kept)


def test_no_rows_and_many_rows() -> None:
    assert parse_filter("a = 1").mask({"a": []}).tolist() == []
    many = parse_filter("a in (" + ", ".join(map(str, range(9_999))) + ")")
    assert many.mask({"a": np.arange(20_000)}).sum() == 9_999


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year > > 1990", r"character 8: '>'.*year > ▸> 1990"),
        ("year >", r"character 7: the end"),
        ("", r"character 1: the end"),
        ("   ", r"the end"),
        ("year == 1990", r"character 7: '='"),
        ("year = 1990 seen", r"character 13: 'seen'"),
        ("(seen", r"character 6: the end"),
        ("seen)", r"character 5: '\)'"),
        ("year in 1990", r"character 9: '1990'"),
        ("year in ()", r"character 10: '\)'"),
        ("year in (1,)", r"character 12: '\)'"),
        ("category = 'Food", r"character 12: the quote is not closed"),
        ("category = Food", r"character 12: 'Food'"),
        ("1990 < year", r"character 1: '1990'"),
        ("year = 1990x", r"character 8: '1'"),
        ("and", r"character 1: 'and'"),
        ("not", r"character 4: the end"),
        ("category = 'a\\qb'", r"character 12: .*unknown escape"),
        ("category = 'a\\u12'", r"character 12: .*unknown escape"),
        ("category = '\\ud83d\\ude00'", r"character 12: .*unknown escape"),
        ("year = 1e999", r"character 8: 1e999 is too great"),
        ("year = " + "9" * 5_000, r"character 8: the number is too long"),
        ("__import__('os').system('id')", r"character 17: '\.'"),
        ("seen; drop table", r"character 5: ';'"),
        ("year = 1 -- x", r"character 10: '-'"),
        ("year.real = 1", r"character 5: '\.'"),
        ("x[0] = 1", r"character 2: '\['"),
        ("\0", r"character 1"),
    ],
)
def test_what_is_no_filter(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_filter(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("text", [None, 5, b"seen", ["seen"]])
def test_a_filter_is_a_text(text: object) -> None:
    with pytest.raises(UserError, match=re.escape(type(text).__name__)):
        parse_filter(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" or ".join(["a = 1"] * 100_000), "10,000 columns and values"),
        ("a in (" + "1," * 100_000 + "1)", "10,000 columns and values"),
        ("(" * 100_000 + "a" + ")" * 100_000, "50 levels"),
        ("not " * 51 + "a", "50 levels"),
        ("(not " * 30 + "a" + ")" * 30, "50 levels"),
        ("a = '" + "x" * 1_000_001 + "'", "1,000,007 characters"),
    ],
    ids=["or", "in", "brackets", "not", "both", "text"],
)
def test_filters_that_are_too_large(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_filter(text)


def test_filters_that_are_as_large_as_possible() -> None:
    assert parse_filter("(" * 50 + "a" + ")" * 50).mask({"a": [True]}).tolist() == [True]
    assert parse_filter("not " * 50 + "a").mask({"a": [True]}).tolist() == [True]
    assert parse_filter(" or ".join(["(a)"] * 200)).mask({"a": [True]}).tolist() == [True]
    assert parse_filter(" or ".join(["a = 1"] * 5_000)).mask({"a": [1, 2]}).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("years > 1", r"no column 'years'.*columns are.*did you mean 'year'"),
        ("Year > 1", r"no column 'Year'.*did you mean 'year'"),
        ("year = 'x'", r"'year' holds numbers, but 'x' is one of texts"),
        ("year in (1, 'x')", r"'year' holds numbers, but 'x'"),
        ("year = true", r"'year' holds numbers, but True"),
        ("year", r"'year' holds numbers.*name alone"),
        ("category = 5", r"'category' holds texts, but 5"),
        ("category", r"'category' holds texts"),
        ("genre > 1", r"'genre' holds texts, but 1"),
        ("seen = 1", r"'seen' holds truth values, but 1"),
        ("seen > true", r"'seen' holds truth values.*order"),
        ("year < null", r"'year'.*null has no order"),
        ("added > 'yesterday'", r"'added' holds times; 'yesterday'"),
        ("added > '2024-13-01'", r"'added' holds times.*'2024-13-01'"),
        ("added > 2024", r"'added' holds times, but 2024"),
        ("mixed = 1", r"'mixed' holds \['int', 'str'\]"),
        ("bare = 1", r"'bare' holds lists and single values"),
        ("objects = 1", r"'objects' holds \['dict'\]"),
        ("complex = 1", r"'complex'.*complex128"),
        ("short = 1 and year = 1", r"different lengths.*'short': 1"),
    ],
)
def test_what_does_not_fit_the_columns(text: str, message: str) -> None:
    odd = {"mixed": [1, "a"], "bare": [[1], 2], "objects": [{}], "complex": np.ones(2, complex), "short": [1]}
    with pytest.raises(UserError, match=message):
        parse_filter(text).mask({**COLUMNS, **odd})
