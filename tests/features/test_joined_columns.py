"""The joined text of raw records is that of a table."""

from __future__ import annotations

import datetime
from typing import Any

import polars as pl
import pytest
from helpers.case_names import named
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features.text.joined_columns import join_text_columns, join_text_values
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

WORD = st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=4)
COLUMNS: list[st.SearchStrategy[Any]] = [
    WORD,
    st.none() | st.lists(WORD, max_size=3),
    st.none() | st.integers(-5, 1 << 40),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.dates(datetime.date(1700, 1, 1)),
]


@given(st.data())
def test_it_is_the_text_of_a_table(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=3))
    rows = data.draw(st.lists(st.tuples(*kinds), min_size=1, max_size=5))
    names = [f"c{number}" for number in range(len(kinds))]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    table = pl.DataFrame({name: raw_column(values, name) for name, values in columns.items()})
    no_words = [name for name in names if table.schema[name] == pl.List(pl.Null)]  # of which Polars joins none
    table = table.with_columns(pl.col(no_words).cast(pl.List(pl.String)))
    records = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
    assert join_text_values(records, names) == join_text_columns(table, names)


@pytest.mark.parametrize("value", [[1, 2], ["a", 7], {"a": 1}, b"a", object(), [["a"]]], ids=named)
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"column 'title': .* is no text"):
        join_text_values([{"title": "a"}, {"title": value}], ["title"])


def test_no_record_and_no_column() -> None:
    assert join_text_values([], ["a"]) == []
    assert join_text_values([{"a": "b"}], []) == [""]
