"""Whatever a column holds: a row is encoded alone as it is among others, or there is one clear line."""

from __future__ import annotations

import warnings
from typing import Any

import polars as pl
import pytest
import torch
from helpers.any_value import QUICK, columns, raw_values
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Trigrams,
    Vector,
    Words,
    WordTrigrams,
)
from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.raw_columns import as_strings
from dssm_lightning.features.raw_values import text_of
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

ITEM = Categorical(name="x", vocabulary=("7", "a", "2024-01-31", "true"))
UNFITTED: list[Feature] = [
    Categorical(name="x"),
    Categorical(name="x", num_buckets=50, prefix=3),
    CategoricalList(name="x", separator="|"),
    Numeric(name="x", missing="indicator"),
    Bucketized(name="x", num_buckets=3, missing="bucket", edges="uniform"),
    Vector(name="x"),
    HashedTrigrams(name="x", on_empty="allow", num_buckets=99),
    HashedWords(name="x"),
    Words(name="x", on_empty="allow"),
    Trigrams(name="x", on_empty="allow"),
    WordTrigrams(name="x", on_empty="allow", num_buckets=99),
    Image(name="x", size=2, on_error="skip"),
]
SERVED = [
    History(name="x", of="x").bind(ITEM),
    History(name="x", of="x", age="seconds").bind(ITEM),
    History(name="x", of="x").bind(HashedWords(name="x", on_empty="allow", num_buckets=99)),
    LikedBy(name="x", of="x").bind(ITEM),
]


def rows(encoded: Any) -> list[Any]:
    """The encoding of each row as plain values."""
    if not isinstance(encoded, Ragged):
        return [row.tolist() for row in encoded]
    age = encoded.age if encoded.age is not None else torch.zeros(len(encoded.values))
    edges = encoded.offsets[1:-1]
    parts = zip(encoded.values.tensor_split(edges), age.tensor_split(edges), strict=True)
    return [(values.tolist(), ages.tolist()) for values, ages in parts]


def attempt(function: Any, *values: Any) -> Any:
    """The result, or None after an error that is one line."""
    try:
        return function(*values)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    return None


def check_rows(feature: Feature, column: pl.Series) -> None:
    """Each row is encoded alone as among the others; a column is refused if one of its rows is."""
    together = attempt(feature.encode, column)
    alone = [attempt(feature.encode, column[row : row + 1]) for row in range(len(column))]
    if together is None:
        return
    assert all(each is not None for each in alone)
    assert rows(together) == [rows(each)[0] for each in alone]


@pytest.mark.parametrize("feature", UNFITTED, ids=lambda feature: type(feature).__name__)
def test_a_row_of_any_column_is_encoded_alone_as_among_others(feature: Feature) -> None:
    @QUICK
    @given(columns(), columns())
    def check(first: pl.Series, second: pl.Series) -> None:
        with warnings.catch_warnings():
            fitted = attempt(feature.fit, first)
            if fitted is not None:
                fitted = feature_from_dict(fitted.to_dict())
                check_rows(fitted, first)
                check_rows(fitted, second)

    check()


@pytest.mark.parametrize("feature", SERVED, ids=lambda feature: f"{type(feature).__name__} {feature.item.name}")
def test_served_lists_are_encoded_alone_as_among_others(feature: Feature) -> None:
    @QUICK
    @given(columns())
    def check(column: pl.Series) -> None:
        check_rows(feature, column)

    check()


@QUICK
@given(columns(lists=False))
def test_whole_columns_have_the_text_of_each_value(column: pl.Series) -> None:
    strings = attempt(as_strings, ITEM, column)
    values = column.to_numpy() if column.dtype == pl.Float32 else column.to_list()
    texts = attempt(lambda: [text_of(value) for value in values])
    if column.dtype in (pl.Binary, pl.Duration):  # refused by their type, before any value
        assert strings is None
    else:
        assert (None if strings is None else strings.to_list()) == texts


def encode_alone(feature: Feature, value: Any) -> Any:
    return feature.encode(raw_column([value]))


@QUICK
@given(st.lists(raw_values(), min_size=1, max_size=4))
def test_raw_values_keep_their_meaning_beside_others(values: list[Any]) -> None:
    column = attempt(raw_column, values)
    if column is None:
        assert any(attempt(raw_column, [value]) is None for value in values)
        return
    for feature in (*UNFITTED[1:3], *SERVED, Numeric(name="x", mean=0.0, std=1.0, missing="mean"), *UNFITTED[6:7]):
        together = attempt(feature.encode, column)
        alone = [attempt(encode_alone, feature, value) for value in values]
        if together is not None:
            assert rows(together) == [rows(each)[0] for each in alone]
        elif not isinstance(feature, Numeric):  # which refuses numbers beside dates
            assert None in alone


@QUICK
@given(columns(lists=False), st.lists(raw_values(), min_size=1, max_size=3))
def test_ids_of_any_type_are_found_in_a_history(ids: pl.Series, served: list[Any]) -> None:
    ids = ids.drop_nulls().unique(maintain_order=True)
    history = History(name="x", of="candidate")
    texts = attempt(as_strings, history, ids)
    if texts is None or texts.n_unique() < len(texts) or texts.null_count():
        return
    found = history.encode_rows(raw_column([ids.to_list()] if ids.dtype != pl.Float32 else [list(ids.to_numpy())]), ids)
    assert found.values.tolist() == list(range(len(ids)))
    attempt(lambda: history.encode_rows(raw_column([served, None]), ids))
