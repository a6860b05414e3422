"""One rule for the text of a value, however it arrives and whatever stands beside it."""

from __future__ import annotations

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.case_names import named
from torch import Tensor

from dssm_lightning.features import Categorical, CategoricalList, History, LikedBy
from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.iso_dates import date_texts, parse_dates
from dssm_lightning.features.raw_columns import as_strings
from dssm_lightning.features.raw_values import text_of
from dssm_lightning.features.schema import changes
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

UTC, AN_HOUR_EAST = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=1))
MOMENT = datetime.datetime(2024, 1, 31, 10, 20, 30)
X = Categorical(name="x", column="y")


class Colour(str, enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        ("1E5", "1E5"),
        (" a ", " a "),
        ("", ""),
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (0.5, "0.5"),
        (1e-7, "1e-07"),
        (2.0**53, "9007199254740992"),
        (2**63, "9223372036854775808"),
        (10**30, "1" + "0" * 30),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.float32(0.1), "0.1"),
        (np.float64(7), "7"),
        (np.str_("a"), "a"),
        (np.bool_(True), "true"),
        (False, "false"),
        (Decimal("7.00"), "7"),
        (Decimal("7.50"), "7.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("12345678901234567890.125"), "12345678901234567890.125"),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31), "2024-01-31"),
        (MOMENT, "2024-01-31T10:20:30"),
        (MOMENT.replace(microsecond=5000), "2024-01-31T10:20:30.005000"),
        (MOMENT.replace(tzinfo=AN_HOUR_EAST), "2024-01-31T09:20:30"),
        (np.datetime64("2024-01-31"), "2024-01-31"),
        (np.datetime64("2024-01-31T10:20:30.000000001"), "2024-01-31T10:20:30"),
        (datetime.time(10, 20), "10:20:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (None, None),
        (float("nan"), None),
        (np.datetime64("NaT"), None),
        (Decimal("NaN"), None),
    ],
    ids=named,
)
def test_the_text_of_a_value_alone_and_beside_others(value: Any, text: str | None) -> None:
    assert text_of(value) == text
    for beside in ([], ["8"], [8], [1.5], [None], [datetime.date(2000, 1, 1)], [True, "z", 2**70]):
        assert as_strings(X, raw_column([*beside, value]))[-1] == text
        assert as_strings(X, raw_column([value, *beside]))[0] == text


@pytest.mark.parametrize(
    "value",
    [b"a", [1], {"a": 1}, {1}, float("inf"), 1e300, 10**500, Decimal("Infinity"), "\ud800", 1j, object()],
    ids=named,
)
def test_what_is_no_category_is_one_line(value: Any) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        text_of(value)
    for beside in ([], ["8"], [None, 8]):
        with pytest.raises(UserError, match=r"^(Categorical feature 'x': )?column 'y'[^\n]*$"):
            as_strings(X, raw_column([*beside, value], "y"))


def test_ids_in_a_query_do_not_depend_on_their_neighbours() -> None:
    feature = Categorical(name="x", vocabulary=("7", "8", "9223372036854775808"))
    assert feature.encode(raw_column([7.0, "8"])).tolist() == [1, 2]
    assert feature.encode(raw_column([2**63, 7, 8.0])).tolist() == [3, 1, 2]
    tags = CategoricalList(name="x", vocabulary=("1", "2"), separator="|")
    assert tags.encode(raw_column([[1.0, "2"], "2| 1", [2], None])).values.tolist() == [1, 2, 2, 1, 2]


def test_ids_in_histories_and_liked_by() -> None:
    item = Categorical(name="x", vocabulary=("1", "2", "9223372036854775808"))
    served = raw_column([[1.0, "2"], [2**63, Decimal("2.0"), None, float("nan")]])
    for feature in (History(name="h", of="x").bind(item), LikedBy(name="h", of="x").bind(item)):
        encoded = feature.encode(served)
        assert (encoded.values.tolist(), encoded.lengths.tolist()) == ([1, 2, 3, 2], [2, 2])
    whole = History(name="h", of="candidate")
    for ids in (pl.Series(["1", "2", str(2**63)]), pl.Series([1, 2, 2**63], dtype=pl.UInt64)):
        encoded = whole.encode_rows(served, ids)
        assert (encoded.values.tolist(), encoded.lengths.tolist()) == ([0, 1, 2, 1], [2, 2])
    with pytest.raises(UserError, match=r"History feature 'h': column 'h' holds \[1\] in entry 1 of its lists"):
        whole.encode_rows(raw_column([[2, [1]]], "h"), pl.Series([1]))
    with pytest.raises(UserError, match=r"History feature 'h': column 'h' holds 'a' in row 0 .*lists"):
        whole.encode_rows(raw_column(["a", [1, "b"]], "h"), pl.Series([1]))


def test_ages_in_seconds_are_finite() -> None:
    feature = History(name="h", of="x", age="seconds").bind(Categorical(name="x", vocabulary=("1", "2")))
    column = raw_column([[{"id": 1, "seconds": 5}, {"id": "2", "seconds": "2.5"}]])
    assert feature.encode(column).age.tolist() == [5.0, 2.5]  # type: ignore[union-attr]  # a history has ages
    for seconds in (-1.0, float("inf"), float("nan"), None, 1e300, "soon", [1]):
        with pytest.raises(UserError, match=r"^History feature 'h': [^\n]*$"):
            feature.encode(raw_column([[{"id": 1, "seconds": seconds}]]))
    with pytest.raises(UserError, match=r"'h': .*'when'.* in entry 0.*`age: seconds`"):
        feature.encode(raw_column([[{"id": 1, "when": 5}]]))


# -- dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_a_category_that_was_fitted_on_datetimes_matches_at_serving(unit: Any, zone: str | None) -> None:
    column = pl.Series([MOMENT, datetime.datetime(2024, 2, 1), None]).cast(pl.Datetime(unit)).dt.replace_time_zone(zone)
    feature = feature_from_dict(Categorical(name="x").fit(column).to_dict())
    known = column.to_list()[0]
    text = known.isoformat()
    for value in (known, text, text.replace("T", " "), f"{known.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z" if zone else text):
        assert feature.encode(raw_column([value])).tolist() == [1]
        assert feature.encode(raw_column([value, None, datetime.date(1999, 1, 1)])).tolist() == [1, 0, 0]
    for value in (5, "yesterday", 1706696430.0, "31/01/2024"):
        with pytest.raises(UserError, match=r"'x': column 'x' holds .* in row 0 .*fitted on dates.*ISO 8601"):
            feature.encode(raw_column([value]))


def test_dates_match_as_dates_datetimes_and_text() -> None:
    for feature in (
        Categorical(name="x").fit(pl.Series([datetime.date(2024, 1, 31)])),
        Categorical(name="x", vocabulary=("2024-01-31",)).fit(pl.Series([], dtype=pl.Date)),
        CategoricalList(name="x").fit(pl.Series([[datetime.date(2024, 1, 31)]])),
    ):
        for value in (datetime.date(2024, 1, 31), datetime.datetime(2024, 1, 31), "2024-01-31", "2024-01-31T01:00+01"):
            column = raw_column([[value]] if isinstance(feature, CategoricalList) else [value])
            encoded = feature.encode(column)
            assert (encoded if isinstance(encoded, Tensor) else encoded.values).tolist() == [1]
    hashed = Categorical(name="x", num_buckets=99).fit(pl.Series([MOMENT]))
    assert hashed.encode(pl.Series([MOMENT])).tolist() == hashed.encode(pl.Series(["2024-01-31 10:20:30"])).tolist()


def test_a_category_of_text_keeps_texts_that_look_like_dates() -> None:
    feature = Categorical(name="x").fit(pl.Series(["2024-01-31 10:20:30", "2024-01-31"]))
    assert feature.encode(pl.Series(["2024-01-31 10:20:30", "2024-01-31T10:20:30"])).tolist() == [2, 0]
    assert feature.encode(raw_column([datetime.date(2024, 1, 31)])).tolist() == [1]


def test_datetimes_of_an_earlier_release_keep_their_texts() -> None:
    column = pl.Series([MOMENT, MOMENT.replace(second=31)])
    saved = Categorical(name="x").to_dict() | {"vocabulary": column.cast(pl.String).to_list()}
    del saved["dates"]
    feature = feature_from_dict(saved)
    assert feature.encode(column).tolist() == feature.encode(raw_column([*column, "other"]))[:2].tolist() == [1, 2]
    again = feature_from_dict(feature.to_dict())
    assert again == feature
    assert changes(feature.to_dict(), Categorical(name="x", vocabulary=feature.vocabulary).to_dict()) == []  # type: ignore[attr-defined]  # a Categorical
    assert changes(feature.to_dict(), Categorical(name="x").fit(column).to_dict()) != []


def test_dates_are_read_as_python_reads_them() -> None:
    generator = np.random.default_rng(0)
    zones = ["", "Z", "+01:00", "-0530", "+02"]
    for _ in range(200):
        moment = datetime.datetime(1, 1, 2) + datetime.timedelta(microseconds=int(generator.integers(0, 315e15)))
        offset = datetime.timezone(datetime.timedelta(minutes=int(generator.integers(-700, 700))))
        for text in (moment.isoformat(), moment.replace(tzinfo=offset).isoformat(" ")):
            found = datetime.datetime.fromisoformat(text)
            expected = found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
            assert parse_dates(pl.Series([text]))[0] == expected
            assert date_texts(pl.Series([expected]))[0] == text_of(expected)
    texts = [f"2024-01-31T10:20{zone}" for zone in zones]
    minutes = parse_dates(pl.Series(texts)).to_list()
    assert [each.hour * 60 + each.minute for each in minutes] == [620, 620, 560, 950, 500]
    for wrong in (
        "2024-1-31",
        "20240131",
        "2024-01-32",
        "2024-01-31T24:00",
        "2024-01-31T10",
        "0000-01-01",
        "２024-01-01",
    ):
        assert parse_dates(pl.Series([wrong]))[0] is None
