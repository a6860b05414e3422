import json

import numpy as np
import polars as pl
import pytest

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.features.vector import Vector
from dssm_lightning.utils.errors import UserError


def test_vectors_are_what_was_given():
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for column in (
        pl.Series(values.tolist()),
        pl.Series(values),
        pl.Series(values.tolist(), dtype=pl.List(pl.Float32)),
    ):
        feature = Vector(name="v").fit(column)
        assert feature.width == feature.length == 3
        encoded = feature.encode(column)
        assert str(encoded.dtype) == "torch.float32"
        np.testing.assert_array_equal(encoded, values)


def test_whole_numbers_and_no_rows():
    feature = Vector(name="v", length=2)
    assert feature.encode(pl.Series([[1, 2]])).tolist() == [[1.0, 2.0]]
    assert feature.encode(pl.Series([], dtype=pl.List(pl.Float64))).shape == (0, 2)


def test_numbers_of_several_types_and_texts():
    feature = Vector(name="v", length=2)
    assert feature.encode(pl.Series([["1", " 2.5"]])).tolist() == [[1.0, 2.5]]
    column = raw_column([[1, 2.5], ["3", 4], np.array([5, 6])])
    assert feature.encode(column).tolist() == [[1.0, 2.5], [3.0, 4.0], [5.0, 6.0]]
    assert feature.fit(column) == feature


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pl.Series([[1.0, 2.0], [1.0]]),
            r"row 1 .* has length 1; .*2 \(1 of 2 rows",
        ),
        (pl.Series([[1.0, 2.0], []]), "row 1 .* has length 0; .*2"),
        (pl.Series([[1.0, 2.0], None]), "1 of 2 rows .* first row 1"),
        (
            pl.Series([[1.0, 2.0], [1.0, float("nan")]]),
            "1 of 2 vectors .* first row 1",
        ),
        (pl.Series([[1.0, None]]), "1 of 1 vectors .*null"),
        (pl.Series([[1.0, 1e300]]), "infinite number"),
        (pl.Series([["1", "b"]]), r"column 'v' holds 'b' in entry 1 .*neither a number"),
        (pl.Series([[True]]), r"column 'v' holds List\(Boolean\)"),
        (raw_column([[1, 2.5], "1 2"]), "column 'v' holds '1 2' in row 1"),
        (raw_column([[1, 2.5], [[1], 2]]), r"'v' holds \[1\] in entry 2 .*list is no number"),
        (raw_column([[1, 2.5], [1e300, "2"]]), "infinite number"),
        (pl.Series([1.0]), "column 'v' holds Float64"),
        (pl.Series([None]), "column 'v' holds Null"),
    ],
)
def test_bad_vectors(column, message):
    with pytest.raises(UserError, match=f"Vector feature 'v': .*{message}"):
        Vector(name="v", length=2).encode(column)
    with pytest.raises(UserError, match="Vector feature 'v'"):
        Vector(name="v", length=2).fit(column)


def test_bad_lengths():
    with pytest.raises(UserError, match="'v': length is 0"):
        Vector(name="v", length=0)
    with pytest.raises(UserError, match=r"'v': no row .*`length`"):
        Vector(name="v").fit(pl.Series([], dtype=pl.List(pl.Float64)))
    with pytest.raises(UserError, match="'v': length is 0"):
        Vector(name="v").fit(pl.Series([[]], dtype=pl.List(pl.Float64)))


@pytest.mark.parametrize("feature", [Vector(name="v", column="w"), Vector(name="v").fit(pl.Series([[1.0, 2.0]]))])
def test_json_round_trip(feature):
    again = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    assert again == feature
    assert again.is_fitted == feature.is_fitted
