import datetime
import json
import re
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from dssm_lightning.features.base import Feature, feature_from_dict
from dssm_lightning.features.numeric import Bucketized, Numeric
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

DAY = 86_400.0


def round_trip(feature: Feature) -> Feature:
    return feature_from_dict(json.loads(json.dumps(feature.to_dict())))


# -- Numeric --------------------------------------------------------------------------------------------------------


def test_standardised_by_hand():
    # mean of 1, 3, 5, 7 is 4; population variance (9 + 1 + 1 + 9) / 4 = 5
    feature = Numeric(name="x").fit(pl.Series([1, 3, 5, 7]))
    assert (feature.mean, feature.std) == (4.0, 5**0.5)
    encoded = feature.encode(pl.Series([4, 9]))
    assert encoded.shape == (2, 1)
    assert str(encoded.dtype) == "torch.float32"
    np.testing.assert_allclose(encoded.squeeze(1), [0, 5**0.5], rtol=1e-6)


def test_a_constant_column_has_deviation_1():
    feature = Numeric(name="x").fit(pl.Series([3.0, 3.0]))
    assert (feature.mean, feature.std) == (3.0, 1.0)
    assert feature.encode(pl.Series([3.0, 5.0])).tolist() == [[0.0], [2.0]]


def test_given_numbers_are_kept():
    feature = Numeric(name="x", mean=10.0, std=2.0)
    assert feature.fit(pl.Series([100, 200])) == feature
    assert feature.encode(pl.Series([14])).tolist() == [[2.0]]
    assert Numeric(name="x", mean=0.0).fit(pl.Series([1.0, 3.0])) == Numeric(name="x", mean=0.0, std=1.0)


def test_timestamps_keep_their_precision():
    # float32 holds about 7 digits: subtracting the mean must come before the cast
    seconds = [1_600_000_000, 1_600_000_001]
    assert Numeric(name="x").fit(pl.Series(seconds)).encode(pl.Series(seconds)).tolist() == [[-1.0], [1.0]]


def test_missing_values():
    column = pl.Series([1.0, None, 3.0, float("nan")])
    mean = Numeric(name="x", missing="mean").fit(column)
    assert (mean.mean, mean.std, mean.width) == (2.0, 1.0, 1)
    assert mean.encode(column).tolist() == [[-1.0], [0.0], [1.0], [0.0]]
    indicator = Numeric(name="x", missing="indicator").fit(column)
    assert indicator.width == 2
    assert indicator.encode(column).tolist() == [[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert indicator.encode(pl.Series([None])).tolist() == [[0.0, 1.0]]


def test_missing_values_are_an_error_with_a_remedy():
    column = pl.Series([1.0, None, 3.0, float("nan")])
    message = (
        r"Numeric feature 'age': 2 of 4 values \(.*: 1, 3\) are missing .*; "
        "`missing: mean` .* `missing: indicator`"
    )
    with pytest.raises(UserError, match=message):
        Numeric(name="age").fit(column)
    with pytest.raises(UserError, match=message):
        Numeric(name="age", mean=0.0, std=1.0).encode(column)


@pytest.mark.parametrize("missing", ["error", "mean", "indicator"])
def test_infinity_is_always_an_error(missing):
    with pytest.raises(UserError, match=r"'x': 1 of 2 values \(.*: 1\) are infinite"):
        Numeric(name="x", missing=missing).fit(pl.Series([1.0, float("-inf")]))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([True, False], [1.0, 0.0]),
        ([datetime.date(1970, 1, 3)], [2 * DAY]),
        ([datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000)], [1.5]),
        ([datetime.datetime(1970, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))], [3600.0]),
        ([datetime.timedelta(minutes=-2)], [-120.0]),
        ([datetime.time(1, 0, 1)], [3601.0]),
    ],
)
def test_booleans_and_times_are_numbers(values, seconds):
    assert Numeric(name="x", mean=0.0, std=1.0).encode(pl.Series(values)).squeeze(1).tolist() == seconds


def test_columns_that_teach_nothing_and_other_types():
    with pytest.raises(UserError, match=r"Numeric feature 'x': no value .* 2 rows"):
        Numeric(name="x", missing="mean").fit(pl.Series([None, None]))
    for column in (pl.Series([[3]]), pl.Series([b"3"]), pl.Series([{"a": 3}])):
        with pytest.raises(UserError, match=r"Numeric feature 'x': column 'y' is of type (List|Binary|Struct)"):
            Numeric(name="x", column="y").fit(column)
    with pytest.raises(UserError, match=r"'x': missing is 'zero'; .*error, mean, indicator"):
        Numeric(name="x", missing="zero")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(UserError, match=r"'x': std is 0.0"):
        Numeric(name="x", std=0.0)
    with pytest.raises(UserError, match=r"'x': mean is nan"):
        Numeric(name="x", mean=float("nan"))


# -- scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.1, 1e9 / 3, -1e-300, 1e300, 0.0])
def test_a_constant_column_has_deviation_1_whatever_its_rounding(value):
    assert np.std([0.1] * 6) > 0  # 1.4e-17: the mean is rounded
    feature = Numeric(name="x").fit(pl.Series([value] * 6))
    assert feature.std == 1.0
    assert feature.encode(pl.Series([value])).item() == pytest.approx(0, abs=1e-6)
    assert Numeric(name="x").fit(pl.Series([0.1] * 6)).encode(pl.Series([0.2])).item() == pytest.approx(0.1)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-5, 1.0, 1e150])
def test_the_deviation_grows_with_the_values(scale):
    feature = Numeric(name="x").fit(pl.Series([1 * scale, 3 * scale]))
    assert feature.encode(pl.Series([1 * scale, 3 * scale])).squeeze(1).tolist() == pytest.approx([-1, 1], rel=1e-2)


def test_what_overflows_is_refused():
    for values, what in (([-1e300, 1e300], "deviation"), ([1e308] * 20, "mean")):
        with pytest.raises(UserError, match=rf"Numeric feature 'x': column 'y' holds -?1e\+30.*{what} is infinite"):
            Numeric(name="x", column="y").fit(pl.Series(values))
    with pytest.raises(UserError, match=r"Bucketized feature 'x': .*-?1e\+308.*bucket is infinite"):
        Bucketized(name="x", num_buckets=4, edges="uniform").fit(pl.Series([-1e308, 1e308]))
    feature = Numeric(name="x", column="y").fit(pl.Series([1.0, 3.0]))
    with pytest.raises(UserError, match=r"'x': column 'y' holds 1e\+308 in row 1 .*mean 2.0, std 1.0"):
        feature.encode(pl.Series([2.0, 1e308]))
    for value in (10**400, "1e999", float("inf"), "inf"):
        with pytest.raises(UserError, match=r"'x'.*infinite"):
            feature.encode(raw_column([value]))


# -- text and kinds --------------------------------------------------------------------------------------------------


def test_numbers_are_read_from_text():
    feature = Numeric(name="x", mean=0.0, std=1.0, missing="indicator")
    column = pl.Series([" 12", "1.5 ", "1e3", "-.5", "+7.", "true", "FALSE", "", " ", "nan", None, "007"])
    expected = [12, 1.5, 1000, -0.5, 7, 1, 0, None, None, None, None, 7]
    assert feature.encode(column).tolist() == [[value or 0.0, float(value is None)] for value in expected]
    assert feature.fit(column).holds == "numbers"
    fitted = Numeric(name="x").fit(pl.Series(["1", "3"]))
    assert (fitted.mean, fitted.std) == (2.0, 1.0)
    assert Bucketized(name="x", boundaries=(2.0,)).encode(pl.Series(["1", "3"])).tolist() == [1, 2]


@pytest.mark.parametrize(
    "text", ["1,5", "1_000", "0x1F", "１２", "12 kg", "NA", "31/01/2024", "2024-02-30", "--1", "1e"]
)
def test_a_text_that_is_no_number_is_named(text):
    message = re.escape(f"'x': column 'y' holds {text!r} in row 1")
    for feature in (Numeric(name="x", column="y"), Bucketized(name="x", column="y", num_buckets=2)):
        with pytest.raises(UserError, match=message):
            feature.fit(pl.Series(["1", text]))


def test_a_column_holds_one_kind():
    for values in ([1, datetime.date(2024, 1, 31)], ["1", "2024-01-31"], [2.5, "10:20"]):
        with pytest.raises(UserError, match=r"'x': column 'x' holds (dates|times of day) \(.* in row 1.* and numbers"):
            Numeric(name="x").fit(raw_column(values))


DAYS = [datetime.date(2024, 1, 30), datetime.date(2024, 2, 1)]


@pytest.mark.parametrize(
    ("fitted", "same", "other"),
    [
        (DAYS, [datetime.datetime(2024, 1, 31), "2024-01-31", " 2024-01-31T01:00+01:00 "], [5, "5", True]),
        (["2024-01-30", "2024-02-01T00:00:00Z"], [DAYS[0] + datetime.timedelta(days=1)], [5.0, "10:20"]),
        ([1, 3], [2, "2", 2.0, np.float32(2), Decimal("2.0")], [DAYS[0], "2024-01-31", datetime.timedelta(1)]),
        ([datetime.time(1), datetime.time(3)], [datetime.time(2), "02:00", "02:00:00.0"], [7200, "7200"]),
        ([datetime.timedelta(seconds=1), datetime.timedelta(seconds=3)], [datetime.timedelta(0, 2), 2, "2"], [DAYS[0]]),
    ],
)
def test_the_fitted_kind_is_remembered(fitted, same, other):
    for feature in (Numeric(name="x"), Bucketized(name="x", num_buckets=2, edges="uniform")):
        feature = round_trip(feature.fit(raw_column(fitted)))
        for value in same:
            assert feature.encode(raw_column([value])).item() == (0.0 if isinstance(feature, Numeric) else 2)
        for value in other:
            with pytest.raises(UserError, match=rf"'x': column 'x' holds .* in row 0.* fitted on {feature.holds}"):
                feature.encode(raw_column([value]))


def test_a_schema_of_an_earlier_release_reads_every_kind():
    saved = Numeric(name="x").fit(pl.Series(DAYS)).to_dict()
    del saved["holds"]
    feature = feature_from_dict(saved)
    assert feature.encode(pl.Series(DAYS)).tolist() == [[-1.0], [1.0]]
    assert feature.encode(pl.Series([feature.mean])).tolist() == [[0.0]]


# -- Bucketized -----------------------------------------------------------------------------------------------------


def test_uniform_buckets_by_hand():
    # four buckets of width 2.5 over 0 … 10
    feature = Bucketized(name="x", num_buckets=4, edges="uniform").fit(pl.Series([0, 10, 3]))
    assert feature.boundaries == (2.5, 5.0, 7.5)
    assert feature.cardinality == 5
    encoded = feature.encode(pl.Series([-100.0, 0.0, 2.4, 2.5, 5.0, 9.9, 10.0, 1e9]))
    assert encoded.tolist() == [1, 1, 1, 2, 3, 4, 4, 4]
    assert str(encoded.dtype) == "torch.int32"


def test_quantile_buckets_hold_equally_many():
    values = np.random.default_rng(0).exponential(size=1000)
    feature = Bucketized(name="x", num_buckets=8).fit(pl.Series(values))
    counts = np.bincount(feature.encode(pl.Series(values)).numpy(), minlength=9)
    assert counts.tolist() == [0] + [125] * 8
    assert feature == Bucketized(name="x", num_buckets=8).fit(pl.Series(values[::-1]))


def test_buckets_equal_a_loop_over_boundaries():
    values = np.random.default_rng(1).integers(0, 20, size=300)
    feature = Bucketized(name="x", num_buckets=7).fit(pl.Series(values))
    expected = [1 + sum(value >= boundary for boundary in feature.boundaries) for value in values]
    assert feature.encode(pl.Series(values)).tolist() == expected


def test_quantiles_that_coincide_make_fewer_buckets():
    feature = Bucketized(name="x", num_buckets=4).fit(pl.Series([0, 0, 0, 0, 0, 0, 0, 8]))
    assert feature.encode(pl.Series([0, 8])).tolist() == [1, feature.cardinality - 1]
    assert feature.cardinality <= 3
    constant = Bucketized(name="x", num_buckets=4, edges="uniform").fit(pl.Series([5, 5]))
    assert constant.cardinality == 2
    assert constant.encode(pl.Series([4, 5, 6])).tolist() == [1, 1, 1]


def test_a_thousand_buckets_over_timestamps():
    seconds = np.arange(874_724_710, 893_286_638, 10_007)
    feature = Bucketized(name="t", num_buckets=1000, edges="uniform").fit(pl.Series(seconds))
    assert feature.cardinality == 1001
    ids = feature.encode(pl.Series(seconds))
    assert (ids.diff() >= 0).all()
    assert (int(ids.min()), int(ids.max())) == (1, 1000)


def test_missing_bucket():
    column = pl.Series([1.0, None, 3.0, float("nan")])
    feature = Bucketized(name="x", num_buckets=2, edges="uniform", missing="bucket").fit(column)
    assert feature.encode(column).tolist() == [1, 0, 2, 0]
    with pytest.raises(UserError, match=r"Bucketized feature 'x': 2 of 4 values .* are missing .* `missing: bucket`"):
        Bucketized(name="x", num_buckets=2).fit(column)


def test_given_boundaries():
    feature = Bucketized(name="x", boundaries=(18, 65))
    assert feature.fit(pl.Series([1])) == feature
    assert feature.encode(pl.Series([17, 18, 64, 65])).tolist() == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "num_buckets and boundaries are both missing"),
        ({"num_buckets": 0}, "num_buckets is 0"),
        ({"num_buckets": 2, "edges": "log"}, "edges is 'log'; .*quantile, uniform"),
        ({"num_buckets": 2, "missing": "mean"}, "missing is 'mean'; .*error, bucket"),
        ({"boundaries": (1.0, 1.0)}, r"boundaries are \(1.0, 1.0\)"),
        ({"boundaries": (1.0, float("inf"))}, r"boundaries are \(1.0, inf\)"),
        ({"boundaries": (1.0, 2.0), "num_buckets": 2}, "num_buckets is 2, but 2 boundaries make 3 buckets"),
    ],
)
def test_contradictory_arguments(arguments, message):
    with pytest.raises(UserError, match=f"Bucketized feature 'x': {message}"):
        Bucketized(name="x", **arguments)


@pytest.mark.parametrize(
    "feature",
    [
        Numeric(name="x", missing="indicator"),
        Numeric(name="x", column="y").fit(pl.Series([0.1, 0.2, 0.7])),
        Bucketized(name="x", num_buckets=5),
        Bucketized(name="x", num_buckets=50).fit(pl.Series(np.random.default_rng(0).normal(size=100))),
        Bucketized(name="x", num_buckets=3).fit(pl.Series([1, 1])),
    ],
)
def test_json_round_trip(feature):
    assert round_trip(feature) == feature
    assert round_trip(feature).is_fitted == feature.is_fitted
