"""Raw values as a query has them have the encoding of the column that holds them, to the bit, or its error."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.any_value import NUMBER_TEXTS, QUICK, raw_values
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedNgrams,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Tokens,
    Trigrams,
    Vector,
    Words,
    WordTrigrams,
)
from dssm_lightning.features.base import FEW, FEW_ENTRIES
from dssm_lightning.features.few_values import read_number_values
from dssm_lightning.features.iso_dates import BLANKS, parse_date, parse_dates
from dssm_lightning.features.raw_numbers import read_numbers
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray

TEXTS = pl.Series(["a b", "toy story 2", "é a|b"])
CATEGORY = Categorical(name="x", vocabulary=("2024-01-31", "7", "8", "a", "b", "true"))
WORDS = Words(name="x", on_empty="allow", vocabulary=("a", "b", "toy"))
TEXT: dict[str, Any] = {"name": "x", "on_empty": "allow"}
FITTED: list[Feature] = [
    CATEGORY,
    Categorical(name="x", num_buckets=50, prefix=3),
    Categorical(name="x", vocabulary=("2024-01-31", "2024-01-31T10:00:00"), dates="iso"),
    Categorical(name="x", vocabulary=("2024-01-31", "7"), dates="polars"),
    CategoricalList(name="x", separator="|", vocabulary=("7", "a", "b")),
    CategoricalList(name="x", num_buckets=9),
    Numeric(name="x", mean=0.1, std=3.0),
    Numeric(name="x", mean=2.0, std=0.3, missing="indicator", holds="numbers"),
    Numeric(name="x", mean=1e9, std=1e5, missing="mean", holds="dates"),
    Numeric(name="x", mean=10.0, std=1.5, missing="mean", holds="durations"),
    Bucketized(name="x", boundaries=(-1.0, 0.5, 7.0), missing="bucket"),
    Bucketized(name="x", boundaries=(0.0,)),
    Vector(name="x", length=2),
    Image(name="x", size=2, on_error="skip"),
    History(name="x", of="x", max_length=2).bind(CATEGORY),
    History(name="x", of="x", age="seconds").bind(CATEGORY),
    History(name="x", of="x").bind(WORDS),
    LikedBy(name="x", of="x", max_length=1).bind(CATEGORY),
    LikedBy(name="x", of="x").bind(CategoricalList(name="x", separator="|", vocabulary=("a",))),
    WORDS,
    Words(name="x", vocabulary=("a", "b")),
    HashedNgrams(**TEXT, unit="words"),
    HashedTrigrams(**TEXT, num_buckets=99, max_characters=4),
    HashedWords(**TEXT, unicode_version="1.0.0"),
    Trigrams(**TEXT).fit(TEXTS),
    WordTrigrams(**TEXT, num_buckets=99),
    BagOfWordsRandomProjection(**TEXT, dimension=4).fit(TEXTS),
    Tokens(**TEXT, vocab_size=20).fit(TEXTS),
]


def label(feature: Feature) -> str:
    return f"{type(feature).__name__} {FITTED.index(feature)}"


def outcome(function: Any, *values: Any) -> Any:
    """The arrays, the error, and the warnings, in a form that `==` compares to the bit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = exact(function(*values))
        except UserError as error:
            found = str(error)
    return found, [str(warning.message) for warning in caught]


def exact(column: ArrayColumn | None) -> Any:
    if column is None:
        return None
    if isinstance(column, RaggedArray):
        return tuple(exact(field) for field in column)  # type: ignore[arg-type]  # items are None or an array
    assert isinstance(column, np.ndarray)
    assert column.flags.writeable
    return column.dtype, column.shape, column.tobytes()


def of_column(feature: Feature, values: Sequence[Any]) -> ArrayColumn:
    return feature.encode_array(raw_column(values, feature.source_column))


def some_values() -> st.SearchStrategy[list[Any]]:
    """Values of any types together, and, which features accept more often, of one."""
    words = st.sampled_from(["a", "b", "a b", "toy", "", None, "é", "7", "a|b| c", "\x1ca\x1f", "\u3000 b\x85"])
    numbers = st.one_of(st.integers(-9, 9), st.floats(-9, 9), st.none(), NUMBER_TEXTS, st.booleans())
    pairs = st.lists(st.lists(st.integers(-3, 9) | st.floats(-9, 9), min_size=2, max_size=2), max_size=3)
    entries = st.lists(st.lists(words | numbers, max_size=3) | st.none(), max_size=3)
    dated = st.fixed_dictionaries({"id": words | numbers, "seconds": st.floats(-0.1, 9) | st.integers(0, 5)})
    values = st.lists(raw_values(), max_size=3)
    same = (st.lists(each, max_size=4) for each in (words, numbers, st.dates(), st.lists(dated, max_size=3)))
    return st.one_of(values, values, pairs, entries, *same)


@pytest.mark.parametrize("feature", FITTED, ids=label)
def test_what_needs_a_value_refuses_a_missing_one(feature: Feature) -> None:
    refused = False
    try:
        feature._encode_column(raw_column([None], "x"))
    except UserError:
        refused = True
    assert feature.needs_value == refused


@pytest.mark.parametrize("feature", FITTED, ids=label)
def test_raw_values_are_encoded_as_their_column(feature: Feature) -> None:
    @QUICK
    @given(some_values())
    def check(values: list[Any]) -> None:
        assert outcome(feature.encode_values, values) == outcome(of_column, feature, values)

    check()


USUAL: dict[str, list[Any]] = {
    "Categorical": ["a", 7, 8.0, None, True, np.int16(7), "new"],
    "CategoricalList": ["a|b", None, ["a", None, 7], ""],
    "Numeric": [1, 2.5, True, "7", " 1e3 "],
    "Bucketized": [1, 2.5, True, "7", " 1e3 "],
    "Vector": [[0.5, 1], np.array([1, 2], np.float32)],
    "Image": [None, ""],
    "History": [["a", 7], None, []],
    "LikedBy": [["a", "b"], None],
}


@pytest.mark.parametrize("feature", [*FITTED[:2], *FITTED[4:8], *FITTED[10:15], *FITTED[17:20]], ids=label)
def test_usual_values_need_no_column(feature: Feature) -> None:
    values = USUAL.get(type(feature).__name__, ["a b", "É"])
    if isinstance(feature, CategoricalList) and feature.separator is None:
        values = values[1:3]
    assert feature._encode_few(values) is not None
    assert outcome(feature.encode_values, values) == outcome(of_column, feature, values)


@pytest.mark.parametrize("feature", FITTED, ids=label)
def test_many_values_are_encoded_as_few(feature: Feature) -> None:
    one = USUAL.get(type(feature).__name__, ["a b"])[0]
    if isinstance(feature, History | CategoricalList | LikedBy):
        one = [{"id": "a", "seconds": 1}] if getattr(feature, "age", None) == "seconds" else ["a", "b"]
    if "dates" in vars(feature).values() or "iso" in vars(feature).values():
        one = "2024-01-31"
    for number in (0, 1, FEW, FEW + 1):
        assert outcome(feature.encode_values, [one] * number) == outcome(of_column, feature, [one] * number)


def test_a_long_history_is_encoded_as_a_short_one() -> None:
    history = History(name="x", of="x").bind(CATEGORY)
    for number in (FEW_ENTRIES, FEW_ENTRIES + 1):
        found = history.encode_values([["a"] * number])
        assert isinstance(found, RaggedArray)
        assert found.values.tolist() == [4] * number


@QUICK
@given(some_values(), st.none() | st.integers(1, 3), st.sampled_from(["events", "seconds"]))
def test_ids_of_candidates_have_the_rows_of_their_column(values: list[Any], most: int | None, age: Any) -> None:
    history = History(name="x", of="candidate", max_length=most, age=age)
    ids = ["a", "7", "b", "true", "2024-01-31"]
    column = outcome(lambda: history.encode_rows(raw_column(values, "x"), pl.Series(ids)))
    assert outcome(history.encode_ids, values, {text: row for row, text in enumerate(ids)}.get) == column


def written_numbers() -> st.SearchStrategy[str]:
    """Texts that look like numbers, dates and times, and often are."""
    digits = st.text("0123456789", max_size=4)
    parts = st.sampled_from([".", "-", "+", "e", "E", ":", "T", "Z", " ", "nan", "INF", "true", "\x1c", "\n", "\u3000"])
    dates = st.from_regex(r"(0000|0001|1970|9999)-(01|02|12)-(01|29|31)([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?)?")
    zones = st.sampled_from(["", "Z", "+02:00", "-2359", " +01"])
    times = st.from_regex(r"[0-2]\d:[0-6]\d(:\d\d(\.\d{1,9})?)?", fullmatch=True)
    numbers = st.from_regex(r"[+-]?\d{0,20}\.?\d{0,20}(e[+-]?\d{1,3})?", fullmatch=True)
    moments = st.tuples(dates, zones).map("".join)
    return st.one_of(numbers, times, moments, st.lists(digits | parts, max_size=5).map("".join))


@QUICK
@given(st.lists(written_numbers(), min_size=1, max_size=4))
def test_texts_are_read_as_their_column(texts: list[str]) -> None:
    few, _ = outcome(lambda: np.array(read_number_values(texts)))
    column, _ = outcome(lambda: read_numbers(Numeric(name="x"), pl.Series("x", texts)).values.copy())
    assert few == column or (isinstance(few, str) and isinstance(column, str))
    assert [parse_date(text) for text in texts] == parse_dates(pl.Series(texts)).to_list()


def test_blanks_are_those_that_polars_strips() -> None:
    letters = list(map(chr, [*range(0xD800), *range(0xE000, 0x20000)]))
    stripped = pl.Series(letters).str.strip_chars() == ""
    assert {letter for letter, blank in zip(letters, stripped, strict=True) if blank} == set(BLANKS)


# -- classes of a user's own ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Lengths(Feature):
    """Overrides `encode` alone, as classes of earlier releases do."""

    def encode(self, column: pl.Series) -> torch.Tensor:
        return torch.tensor([len(value) for value in column])


@dataclass(frozen=True, kw_only=True)
class Doubled(Numeric):
    """Overrides `encode` of a class that has a way for few values."""

    def encode(self, column: pl.Series) -> torch.Tensor:
        found = super().encode(column)
        assert isinstance(found, torch.Tensor)
        return 2 * found


@dataclass(frozen=True, kw_only=True)
class Tripled(Numeric):
    """Overrides `encode_array` of a class that has a way for few values."""

    def encode_array(self, column: pl.Series) -> Any:
        return 3 * super().encode_array(column)


def test_own_classes_are_served_by_what_they_override() -> None:
    assert np.array_equal(Lengths(name="x").encode_values(["ab", ""]), [2, 0])
    assert np.array_equal(Lengths(name="x").encode_array(pl.Series(["abc"])), [3])
    for kind, factor in ((Numeric, 1), (Doubled, 2), (Tripled, 3)):
        feature = kind(name="x", mean=1.0, std=1.0)
        assert np.array_equal(feature.encode_values([4]), [[3.0 * factor]])
        assert np.array_equal(feature.encode(pl.Series([4])), [[3.0 * factor]])
    history = LikedBy(name="h", of="x", item=Lengths(name="x"))
    assert np.array_equal(history.encode_values([["a", "bc"]])[0], [1, 2])


def test_a_class_that_encodes_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Feature(name="x").encode_values([1])


def test_errors_name_the_row_of_the_column() -> None:
    with pytest.raises(UserError, match=r"'x': column 'y' holds \['b'\] in row 1"):
        Categorical(name="x", column="y", vocabulary=("a",)).encode_values(["a", ["b"], 1])
    with pytest.raises(UserError, match=r"'x': column 'y' holds 'two' in row 1.*neither a number"):
        Numeric(name="x", column="y", mean=0.0, std=1.0).encode_values(["1", "two"])


def test_one_unreadable_picture_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    feature = Image(name="x", size=2, root=str(tmp_path), on_error="skip")
    assert feature.encode_values(["text.png"]).shape == (1, 4, 2, 2)  # type: ignore[union-attr]  # an array
    assert len(caplog.records) == 1
