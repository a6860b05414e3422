import json
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from jsonargparse import ArgumentParser, set_parsing_settings

from dssm_lightning.features.base import Feature, feature_from_dict
from dssm_lightning.features.categorical import Categorical, CategoricalList
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import hash_strings


def round_trip(feature: Feature) -> Feature:
    return feature_from_dict(json.loads(json.dumps(feature.to_dict())))


def rows(ragged) -> list[list[int]]:
    ends = ragged.offsets.tolist()
    return [ragged.values.tolist()[a:b] for a, b in pairwise(ends)]


# -- vocabulary -----------------------------------------------------------------------------------------------------


def test_ids_run_in_sorted_order_and_0_is_null_or_unknown():
    feature = Categorical(name="x").fit(pl.Series(["pear", "apple", None, "pear", "fig"]))
    assert feature.vocabulary == ("apple", "fig", "pear")
    assert feature.cardinality == 4
    encoded = feature.encode(pl.Series(["pear", "fig", "apple", None, "kiwi", "", "app", "zzz"]))
    assert encoded.tolist() == [3, 2, 1, 0, 0, 0, 0, 0]
    assert str(encoded.dtype) == "torch.int32"


def test_fit_does_not_depend_on_the_order_of_rows():
    values = [f"v{i % 37}" for i in range(200)]
    a = Categorical(name="x", min_frequency=6).fit(pl.Series(values))
    b = Categorical(name="x", min_frequency=6).fit(pl.Series(values[::-1]))
    assert a == b
    counts = Counter(values)
    assert a.vocabulary == tuple(sorted(value for value in counts if counts[value] >= 6))


def test_encoding_equals_a_dictionary_on_random_strings():
    generator = np.random.default_rng(0)
    known = sorted({"".join(generator.choice(list("abé😀"), size=generator.integers(0, 4))) for _ in range(60)})
    values = ["".join(generator.choice(list("abé😀"), size=generator.integers(0, 4))) for _ in range(500)]
    feature = Categorical(name="x").fit(pl.Series(known))
    ids = {value: i + 1 for i, value in enumerate(feature.vocabulary)}
    assert feature.encode(pl.Series(values)).tolist() == [ids.get(value, 0) for value in values]


def test_a_given_vocabulary_keeps_its_order_and_is_not_refitted():
    feature = Categorical(name="x", vocabulary=("z", "a"))
    assert feature.fit(pl.Series(["other"])) is feature
    assert feature.encode(pl.Series(["a", "z", "other"])).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([7, 10, None]),
        pl.Series([7.0, 10.0, float("nan")]),
        pl.Series(["7", "10", None]),
        pl.Series(["7", "10", None], dtype=pl.Categorical),
        pl.Series(["7.00", "10.00", None]).cast(pl.Decimal(6, 2)),
    ],
    ids=lambda column: str(column.dtype),
)
def test_numbers_and_strings_are_the_same_category(column):
    feature = Categorical(name="x").fit(column)
    assert feature.vocabulary == ("10", "7")
    assert feature.encode(pl.Series([7])).tolist() == feature.encode(pl.Series(["7"])).tolist() == [2]


def test_columns_without_a_value():
    for column in (pl.Series([None, None]), pl.Series([], dtype=pl.String)):
        feature = Categorical(name="x").fit(column)
        assert feature.cardinality == 1
        assert feature.encode(pl.Series(["a", None])).tolist() == [0, 0]
        assert feature.encode(column).tolist() == [0] * len(column)


@pytest.mark.parametrize(
    ("min_frequency", "kept"),
    [
        (0, "abc"),
        (0.0, "abc"),
        (1, "abc"),
        (2, "bc"),
        (3, "c"),
        (0.1, "abc"),  # 1 of 10 rows is exactly 0.1, which is not below it
        (0.3, "c"),  # 3 / 10 == 0.3 holds in floats; 0.3 · 10 could exceed 3
        (0.11, "bc"),
    ],
)
def test_min_frequency_is_a_count_or_a_share_of_all_rows(min_frequency, kept):
    column = pl.Series(["a", "b", "b", "c", "c", "c", None, None, None, None])
    assert Categorical(name="x", min_frequency=min_frequency).fit(column).vocabulary == tuple(kept)


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("0.01", 0.01), ("1e-3", 0.001)])
def test_yaml_distinguishes_counts_from_shares(text, value):
    set_parsing_settings(subclasses_enabled=[Feature])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--features", type=list[Feature])
    kind = "dssm_lightning.features.categorical.Categorical"
    parsed = parser.parse_string(f"features: [{{class_path: {kind}, init_args: {{name: x, min_frequency: {text}}}}}]")
    feature = parser.instantiate(parsed).features[0]
    assert feature == Categorical(name="x", min_frequency=value)
    assert type(feature.min_frequency) is type(value)


def test_a_larger_table_may_be_asked_for():
    assert Categorical(name="x", num_embeddings=4).fit(pl.Series(["a", "b", "c"])).cardinality == 4
    assert Categorical(name="x", num_embeddings=9).fit(pl.Series(["a", "b", "c"])).cardinality == 9
    with pytest.raises(UserError, match="'x': num_embeddings is 3, but 4 rows"):
        Categorical(name="x", num_embeddings=3).fit(pl.Series(["a", "b", "c"]))


def test_the_first_letters_of_a_code_are_a_category():
    column = pl.Series(["48067", "48104", "9", "94110-1234", None])
    feature = Categorical(name="area", column="zip", prefix=2).fit(column)
    assert feature.vocabulary == ("48", "9", "94")
    assert feature.encode(pl.Series(["48999", "9", "94", "70072", None])).tolist() == [1, 2, 3, 0, 0]
    assert Categorical(name="area", prefix=1, num_buckets=50).encode(pl.Series([48067, 4])).unique().numel() == 1
    assert feature_from_dict(feature.to_dict()) == feature


def test_a_prefix_has_a_letter():
    with pytest.raises(UserError, match="Categorical feature 'area': prefix is 0"):
        Categorical(name="area", prefix=0)


# -- hashing --------------------------------------------------------------------------------------------------------


def mixed(value: int) -> int:
    """splitmix64's finaliser on Python's integers, from Steele et al. 2014."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def hashed(text: str) -> int:
    pairs = (place * 0x9E3779B97F4A7C15 + byte + 1 for place, byte in enumerate(text.encode()))
    return mixed(sum(mixed(pair % 2**64) for pair in pairs) % 2**64)


def test_hashes_equal_a_loop_over_bytes():
    values = ["", "a", "ab", "ba", "é", "😀 x", "a" * 100, "\0"]
    expected = [hashed(value) for value in values]
    assert hash_strings(pl.Series(values)).tolist() == expected
    assert len(set(expected)) == len(values)


def test_hash_buckets_never_change():
    feature = Categorical(name="x", num_buckets=1000)
    assert feature.is_fitted
    assert feature.cardinality == 1001
    column = pl.Series(["", "a", "ab", "ba", "é", None, "a"])
    assert feature.encode(column).tolist() == [1, 945, 231, 695, 242, 0, 945]
    assert feature.encode(pl.Series([], dtype=pl.String)).tolist() == []


def test_hash_buckets_are_used_evenly():
    # 20,000 values in 100 buckets: each holds 200 ± 14 (one standard deviation of a Poisson count)
    encoded = Categorical(name="x", num_buckets=100).encode(pl.Series(range(20_000)))
    counts = np.bincount(encoded.numpy(), minlength=101)
    assert counts[0] == 0
    assert counts[1:].min() > 140
    assert counts[1:].max() < 260


# -- lists ----------------------------------------------------------------------------------------------------------


def test_lists_keep_order_and_repeats():
    feature = CategoricalList(name="g").fit(pl.Series([["b", "a"], None, [], ["a", "c", "a"]]))
    assert feature.vocabulary == ("a", "b", "c")
    encoded = feature.encode(pl.Series([["c", "a", "a"], None, [], ["new", "b", None]]))
    assert rows(encoded) == [[3, 1, 1], [], [], [0, 2]]
    assert [str(t.dtype) for t in encoded[:2]] == ["torch.int32", "torch.int64"]


def test_strings_are_split_at_the_separator():
    feature = CategoricalList(name="g", separator="|")
    column = pl.Series(["Action| Comedy ", "", None, "Drama", "Comedy||Drama|"])
    fitted = feature.fit(column)
    assert fitted.vocabulary == ("Action", "Comedy", "Drama")
    assert rows(fitted.encode(column)) == [[1, 2], [], [], [3], [2, 3]]
    assert rows(fitted.encode(pl.Series([["Drama", "Action"]]))) == [[3, 1]]


def test_lists_of_numbers_arrays_and_nothing():
    feature = CategoricalList(name="g").fit(pl.Series([[10, 7], [7]]))
    assert feature.vocabulary == ("10", "7")
    assert rows(feature.encode(pl.Series([[7, 10]], dtype=pl.Array(pl.Int64, 2)))) == [[2, 1]]
    for column in (pl.Series([None, None]), pl.Series([[], []]), pl.Series([[None], None])):
        assert rows(feature.encode(column)) == [[], []]
    assert rows(feature.encode(pl.Series([], dtype=pl.List(pl.String)))) == []


def test_min_frequency_counts_rows_that_hold_a_value():
    column = pl.Series([["a", "a", "a"], ["b"], ["b"], []])
    assert CategoricalList(name="g", min_frequency=2).fit(column).vocabulary == ("b",)
    assert CategoricalList(name="g", min_frequency=0.5).fit(column).vocabulary == ("b",)


def test_hashed_lists():
    column = pl.Series([["a", "b"], ["b"]])
    single = Categorical(name="g", num_buckets=50).encode(pl.Series(["a", "b"])).tolist()
    assert rows(CategoricalList(name="g", num_buckets=50).encode(column)) == [single, single[1:]]


# -- arguments, JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_frequency": -1}, "min_frequency is -1;"),
        ({"min_frequency": True}, "min_frequency is True"),
        ({"min_frequency": 1.0}, "min_frequency is 1.0"),
        ({"min_frequency": float("nan")}, "min_frequency is nan"),
        ({"num_buckets": 0}, "num_buckets is 0"),
        ({"num_buckets": 2**31 - 1}, "num_buckets is 2147483647"),
        ({"num_buckets": 5, "min_frequency": 2}, "num_buckets is 5.*`min_frequency`"),
        ({"num_buckets": 5, "vocabulary": ("a",)}, "num_buckets is 5.*`vocabulary`"),
        ({"num_buckets": 5, "num_embeddings": 5}, "num_embeddings is 5, but 6 rows"),
        ({"num_embeddings": 0}, "num_embeddings is 0, but 1 rows"),
        ({"vocabulary": ("a", "b", "a")}, r"vocabulary holds \['a'\]"),
        ({"vocabulary": ("a", 1)}, "vocabulary holds 1;"),
    ],
)
@pytest.mark.parametrize("kind", [Categorical, CategoricalList])
def test_contradictory_arguments(kind, arguments, message):
    with pytest.raises(UserError, match=f"{kind.__name__} feature 'x': .*{message}"):
        kind(name="x", **arguments)


def test_values_that_are_no_categories():
    with pytest.raises(UserError, match=r"Categorical feature 'x': 1 of 2 values .* \[1.5\]; .*Numeric"):
        Categorical(name="x").fit(pl.Series([1.5, 2.0]))
    with pytest.raises(UserError, match=r"'x': column 'y' is of type List.*CategoricalList"):
        Categorical(name="x", column="y").fit(pl.Series([["a"]]))
    with pytest.raises(UserError, match=r"'x': column 'x' .*\['a\|b'\]; .*`separator`"):
        CategoricalList(name="x").fit(pl.Series([None, "a|b"]))
    with pytest.raises(UserError, match="CategoricalList feature 'x': column 'x' holds Int64"):
        CategoricalList(name="x").fit(pl.Series([1]))
    with pytest.raises(UserError, match="'x': separator is ''"):
        CategoricalList(name="x", separator="")


def test_a_min_frequency_that_leaves_nothing():
    with pytest.raises(UserError, match=r"'x': min_frequency is 3, .* 2 values; .* 2 of 3"):
        Categorical(name="x", min_frequency=3).fit(pl.Series(["a", "a", "b"]))


@pytest.mark.parametrize(
    "feature",
    [
        Categorical(name="x"),
        Categorical(name="x", column="y", min_frequency=0.25, num_embeddings=10).fit(pl.Series(["b", "a", "é"])),
        Categorical(name="x", num_buckets=10),
        CategoricalList(name="x", separator="|"),
        CategoricalList(name="x", separator="|", min_frequency=2).fit(pl.Series(["a|b", "a"])),
        Categorical(name="x", vocabulary=["a", "b"]),  # type: ignore[arg-type]  # a list, as people write it
    ],
)
def test_json_round_trip(feature):
    assert round_trip(feature) == feature
    assert hash(round_trip(feature)) == hash(feature)
