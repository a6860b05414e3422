import json

import polars as pl
import pytest

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.categorical import Categorical, CategoricalList
from dssm_lightning.features.history import History
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.models.encoders.sequential import SelfAttention
from dssm_lightning.utils.errors import UserError

ITEM = Categorical(name="movie_id", vocabulary=("1", "2", "30"))


def test_served_histories_are_encoded_by_the_candidate_feature():
    feature = History(name="history", of="movie_id").bind(ITEM)
    assert feature.is_fitted
    assert feature.cardinality == 4
    encoded = feature.encode(pl.Series([[30, 1, 99], None, [], [2]]))
    assert encoded.values.tolist() == [3, 1, 0, 2]
    assert encoded.offsets.tolist() == [0, 3, 3, 3, 4]
    assert encoded.age.tolist() == [3.0, 2.0, 1.0, 1.0]  # events back from the newest, which stands last
    assert [str(t.dtype) for t in encoded[:3]] == ["torch.int32", "torch.int64", "torch.float32"]


def test_only_the_newest_are_kept():
    encoded = History(name="h", of="movie_id", max_length=2).bind(ITEM).encode(pl.Series([["1", "2", "30"], ["2"]]))
    assert encoded.values.tolist() == [2, 3, 2]
    assert encoded.age.tolist() == [2.0, 1.0, 1.0]


def test_nothing_liked_yet():
    feature = History(name="h", of="movie_id", max_length=2).bind(ITEM)
    for column in (pl.Series([None]), pl.Series([[]]), pl.Series([[None]])):
        assert feature.encode(column).offsets.tolist() == [0, 0]


def test_only_what_has_ids_can_stand_for_a_candidate():
    history = History(name="h", of="genres")
    assert not history.is_fitted
    assert not history.bind(Categorical(name="genres")).is_fitted
    assert not history.bind(CategoricalList(name="genres")).is_fitted
    with pytest.raises(UserError, match=r"'h': `of` is 'genres', a Numeric"):
        history.bind(Numeric(name="genres"))
    with pytest.raises(UserError, match="History feature 'h': column 'h' holds Int64"):
        history.bind(ITEM).encode(pl.Series([1]))


def test_entries_of_several_ids_stand_one_after_another():
    words = Words(name="title", vocabulary=("red", "shoes", "blue"))
    feature = History(name="h", of="title", max_length=2).bind(words)
    assert feature.cardinality == 4
    encoded = feature.encode(pl.Series([["old", "red shoes", "blue"], None, ["shoes"]]))
    assert encoded.values.tolist() == [1, 2, 3, 2]
    assert encoded.offsets.tolist() == [0, 3, 3, 4]
    assert encoded.age.tolist() == [2.0, 2.0, 1.0, 1.0]  # of the entry, for each of its words
    by_time = History(name="h", of="title", order="time")
    assert not by_time.bind(words).has_prefixes
    assert by_time.bind(ITEM).has_prefixes
    with pytest.raises(UserError, match=r"SelfAttention of 'h' .*'title'"):
        SelfAttention(by_time.bind(words))


def test_served_entries_may_say_how_long_ago_they_were():
    feature = History(name="h", of="movie_id", age="seconds").bind(ITEM)
    encoded = feature.encode(pl.Series([[{"id": 30, "seconds": 60.0}, {"id": 1, "seconds": 5.0}], None]))
    assert encoded.values.tolist() == [3, 1]
    assert encoded.age.tolist() == [60.0, 5.0]
    with pytest.raises(UserError, match=r"'h': column 'h' holds lists of Int64; .*`age: seconds`"):
        feature.encode(pl.Series([[30, 1]]))


def test_whole_candidates_are_served_as_rows_of_the_corpus():
    feature = History(name="h", of="candidate", max_length=3)
    assert feature.is_fitted
    encoded = feature.encode_rows(pl.Series([["9", "b", "x", "a"], None, ["c"]]), pl.Series(["a", "b", "c"]))
    assert encoded.values.tolist() == [1, 0, 2]  # 9 is too old, x is unknown
    assert encoded.offsets.tolist() == [0, 2, 2, 3]
    assert encoded.age.tolist() == [3.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 0}, "max_length is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"events": "seen"}, "events is 'seen'; .*liked, shown, all"),
        ({"age": "days"}, "age is 'days'; .*events, seconds"),
        ({"order": "random"}, "order is 'random'; .*time, leave_one_out"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=f"History feature 'h': {message}"):
        History(name="h", of="movie_id", **arguments)


@pytest.mark.parametrize(
    "feature",
    [
        History(name="h", of="movie_id", order="time", max_length=5, dropout=0.5),
        History(name="h", of="movie_id").bind(ITEM),
        History(name="h", of="movie_id").bind(Categorical(name="movie_id", num_buckets=7)),
    ],
)
def test_json_round_trip(feature):
    again = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    assert again == feature
    assert again.is_fitted == feature.is_fitted
