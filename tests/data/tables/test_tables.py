"""Raw tables: what resolving makes of them, what collapses, and the message of every refusal."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables, Tables, collapse

INTERACTIONS: dict[str, Any] = {
    "query_id": ["a", "a", "b", "c"],
    "candidate_id": [1, 2, 1, 3],
    "hour": [7, 8, 9, 9],
    "age": [30, 30, 40, 50],
    "title": ["one", "two", "one", "three"],
    "genres": [["x"], ["x", "y"], ["x"], []],
    "score": [1.0, 0.0, 1.0, 1.0],
}
QUERIES: dict[str, Any] = {"query_id": ["a", "b", "c"], "text": ["A", "B", "C"]}
CANDIDATES: dict[str, Any] = {"name": ["one", "two", "three"], "candidate_id": [1, 2, 3]}


def make_raw(
    interactions: dict[str, Any] | None = None,
    queries: dict[str, Any] | None = QUERIES,
    candidates: dict[str, Any] | None = CANDIDATES,
    display: tuple[str, ...] = (),
    **keys: Any,
) -> RawTables:
    return RawTables(
        pl.DataFrame({**INTERACTIONS, **(interactions or {})}),
        None if queries is None else pl.DataFrame(queries),
        None if candidates is None else pl.DataFrame(candidates),
        ColumnRoles(**keys),
        display,
    )


# -- resolving ------------------------------------------------------------------------------------------------------


def test_three_tables_stay_as_they_are_with_the_key_first() -> None:
    tables = make_raw(display=("name",)).resolve(["text", "hour", "query_id"], ["name", "candidate_id"])
    assert isinstance(tables, Tables)
    assert_frame_equal(tables.interactions, pl.DataFrame(INTERACTIONS))
    assert_frame_equal(tables.queries, pl.DataFrame(QUERIES))
    assert tables.candidates.columns == ["candidate_id", "name"]
    assert tables.display == ("name",)


def test_one_flat_table_gives_distinct_queries_and_candidates() -> None:
    raw = make_raw(queries=None, candidates=None, display=("title",))
    tables = raw.resolve(["age", "hour", "query_id"], ["genres", "candidate_id"])
    # age is the same in both rows of "a"; hour is not and stays with the event
    assert_frame_equal(tables.queries, pl.DataFrame({"query_id": ["a", "b", "c"], "age": [30, 40, 50]}))
    assert "hour" in tables.interactions.columns
    expected = {"candidate_id": [1, 2, 3], "genres": [["x"], ["x", "y"], []], "title": ["one", "two", "three"]}
    assert_frame_equal(tables.candidates, pl.DataFrame(expected))


def test_complete_tables_resolve_to_themselves() -> None:
    once = make_raw().resolve(["text"], ["name"])
    again = once.resolve(["text"], ["name"])
    assert_frame_equal(again.candidates, once.candidates)


def test_ids_of_one_kind_and_another_width_agree() -> None:
    tables = make_raw({"candidate_id": pl.Series([1, 2, 1, 3], dtype=pl.Int8)}).resolve([], [])
    assert tables.interactions.schema["candidate_id"] == tables.candidates.schema["candidate_id"] == pl.Int64
    tables = make_raw({"query_id": pl.Series(["a", "a", "b", "c"], dtype=pl.Categorical)}).resolve([], [])
    assert tables.interactions.schema["query_id"] == tables.queries.schema["query_id"] == pl.String


def test_the_same_column_twice_is_one_column() -> None:
    tables = make_raw(queries=None, candidates=None).resolve(["age", "age"], ["title", "title"])
    assert tables.queries.columns == ["query_id", "age"]
    assert tables.candidates.columns == ["candidate_id", "title"]


@pytest.mark.parametrize("labels", [[1, 0, 1, 1], [1.0, 0.0, 1.0, 1.0], [True, False, True, True]])
def test_labels_may_be_integers_floats_or_truth_values(labels: list[Any]) -> None:
    assert make_raw({"liked": labels}, label="liked").resolve([], []).keys.label == "liked"


# -- refusals -------------------------------------------------------------------------------------------------------


def refused(
    message: str, raw: RawTables, query_columns: list[str] | None = None, candidate_columns: list[str] | None = None
) -> None:
    with pytest.raises(ValueError, match=message):
        raw.resolve(query_columns or [], candidate_columns or [])


def test_missing_columns_are_named_with_those_there_are() -> None:
    there = r"queries has query_id, text; interactions has query_id, .*, score; did you mean 'text'"
    refused(rf"query feature column 'texd': no such column; {there}", make_raw(), ["texd"])
    there = r"candidates has name, candidate_id; did you mean 'name'"
    refused(rf"candidate feature column 'nome': no such column; {there}", make_raw(), [], ["nome"])
    refused(r"candidate feature column 'hour': no such column; candidates has name", make_raw(), [], ["hour"])
    flat = make_raw(queries=None, candidates=None)
    refused(r"query feature column 'ages': .*interactions has .*did you mean 'age'", flat, ["ages"])
    refused(r"candidate feature column 'titel': .*interactions has .*'title'\?", flat, [], ["titel"])
    refused(r"display column 'nam': no such column; candidates has .*'name'\?", make_raw(display=("nam",)))


@pytest.mark.parametrize("key", ["query_id", "candidate_id", "label", "weight", "time"])
def test_missing_key_columns_are_named(key: str) -> None:
    keys: dict[str, Any] = {key: "absent"}
    refused(rf"{key} column 'absent': no such column; interactions has query_id", make_raw(**keys))


def test_each_table_needs_its_key() -> None:
    refused("query_id column 'query_id': no such column; queries has text", make_raw(queries={"text": ["A"]}))
    refused("candidate_id column 'candidate_id': .* candidates has name", make_raw(candidates={"name": ["A"]}))


def test_a_column_in_both_tables_is_ambiguous() -> None:
    raw = make_raw(queries={**QUERIES, "hour": [1, 2, 3]})
    refused("query feature column 'hour' is in queries and in interactions", raw, ["hour"])
    assert raw.resolve(["text"], []).queries.columns == ["query_id", "text", "hour"]  # nobody reads it: no matter


def test_what_is_to_be_predicted_is_no_feature() -> None:
    refused("'candidate_id' is what the model is to predict", make_raw(), ["candidate_id"])
    refused("'score' is what the model is to predict", make_raw(label="score"), ["score"])


def test_empty_tables() -> None:
    raw = make_raw()
    empty = RawTables(raw.interactions.clear(), raw.queries, raw.candidates, raw.keys)
    refused("interactions has no rows .*at least an interaction", empty)
    assert raw.queries is not None
    assert raw.candidates is not None
    refused("queries has no rows", RawTables(raw.interactions, raw.queries.clear(), raw.candidates, raw.keys))
    refused("candidates has no rows", RawTables(raw.interactions, raw.queries, raw.candidates.clear(), raw.keys))


def test_repeated_ids() -> None:
    twice = {"candidate_id": [1, 2, 3, 2, 1], "name": list("abcde")}
    refused("candidates: 2 ids of 'candidate_id' occur more than once, first 1, 2;", make_raw(candidates=twice))
    many = {"query_id": [*"abcde", *"abcde"], "text": ["A"] * 10}
    refused("queries: 5 ids of 'query_id' occur more than once, first 'a', 'b', 'c', …;", make_raw(queries=many))


def test_null_ids() -> None:
    raw = make_raw({"candidate_id": [1, None, None, 3]})
    refused("interactions: id column 'candidate_id' is null in 2 of 4 rows, first in row 1", raw)
    raw = make_raw(queries={"query_id": ["a", "b", None], "text": ["A", "B", "C"]})
    refused("queries: id column 'query_id' is null in 1 of 3 rows, first in row 2", raw)


def test_unknown_ids() -> None:
    raw = make_raw({"candidate_id": [1, 9, 9, 8]})
    refused(
        r"3 of 4 interactions name 2 ids of 'candidate_id' that candidates \(3 rows\) does not have, first 9, 8", raw
    )
    raw = make_raw({"query_id": ["a", "z", "b", "c"]})
    refused(r"1 of 4 interactions name 1 ids of 'query_id' that queries \(3 rows\) does not have, first 'z'", raw)


def test_ids_of_different_types() -> None:
    raw = make_raw({"candidate_id": ["1", "2", "1", "3"]})
    refused("different types: 'candidate_id' is String in interactions and Int64 in candidates", raw)
    raw = make_raw({"candidate_id": [1.0, 2.0, 1.0, 3.0]})
    refused("interactions: ids must be integers or text, 'candidate_id' is Float64 .*missing values", raw)


@pytest.mark.parametrize(
    ("values", "found"), [([1, 0, 5, 3], "5, 3"), ([1, None, 0, 1], "None"), (["yes", "no", "no", "no"], "'yes', 'no'")]
)
def test_labels_that_are_none(values: list[Any], found: str) -> None:
    refused(rf"label column 'liked' must hold 1 .* found {found};", make_raw({"liked": values}, label="liked"))


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), None])
def test_weights_that_are_none(wrong: float | None) -> None:
    raw = make_raw({"w": [1.0, 0.0, wrong, wrong]}, weight="w")
    refused(rf"weight column 'w': 2 of 4 weights are negative, infinite or missing, first {wrong} in row 2", raw)


def test_weights_that_are_text() -> None:
    refused("weight column 'w' must hold numbers, it is String", make_raw({"w": list("abcd")}, weight="w"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [1, 2, -1, 3],
            r"1 of 4 grades are negative, broken or missing, first -1 in row 2; they must be whole numbers",
        ),
        ([1, None, None, 3], r"2 of 4 grades are negative, broken or missing, first None in row 1"),
        ([1.0, 2.5, 1.0, 3.0], r"1 of 4 grades are negative, broken or missing, first 2.5 in row 1"),
        ([1, 0, 0, 3], r"2 liked rows have grade 0, first in row 1; what is relevant has at least 1: drop these rows"),
        (list("abcd"), "must hold numbers, it is String"),
    ],
)
def test_grades_that_are_none(values: list[Any], message: str) -> None:
    refused(f"grade column 'g'.*{message}", make_raw({"g": values}, grade="g"))


def test_what_is_not_liked_may_have_grade_0() -> None:
    rows = {"g": [1, 0, 2, 3], "liked": [1, 0, 1, 1]}
    assert make_raw(rows, grade="g", label="liked").resolve(["text"], ["name"]).keys.grade == "g"
    all_liked = make_raw({**rows, "liked": [1] * 4}, grade="g", label="liked")
    refused(r"1 liked rows have grade 0, first in row 1.*or set 'liked' to 0 there", all_liked)


def test_times_that_are_none() -> None:
    refused("time column 't' must hold numbers or datetimes, it is String", make_raw({"t": list("abcd")}, time="t"))
    refused("time column 't' is missing in 2 of 4 .*row 1", make_raw({"t": [1.0, None, float("nan"), 2.0]}, time="t"))


def test_rows_that_contradict_each_other_about_a_candidate() -> None:
    raw = make_raw({"title": ["one", "two", "uno", "three"]}, candidates=None)
    refused("1 candidates: candidate_id 1 has title 'one' and 'uno'", raw, [], ["genres", "title"])
    assert len(raw.resolve([], ["genres"]).candidates) == 3  # nobody reads the title


# -- collapsing -----------------------------------------------------------------------------------------------------


def pairs(**columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [1, 1, 2, 1], "candidate_id": [5, 6, 5, 5], **columns})


def test_distinct_pairs_are_left_alone() -> None:
    tables = RawTables(pairs()[:3], None, None, ColumnRoles()).resolve([], [])
    collapsed, dropped = collapse(tables)
    assert dropped == 0
    assert collapsed is tables


@pytest.mark.parametrize(
    ("columns", "keys", "kept"),
    [
        ({}, ColumnRoles(), [0, 1, 2]),  # the first
        ({"time": [1, 2, 3, 4]}, ColumnRoles(time="time"), [1, 2, 3]),  # the latest
        ({"time": [4, 2, 3, 4]}, ColumnRoles(time="time"), [0, 1, 2]),  # of equal times the first
        ({"label": [0, 1, 1, 1]}, ColumnRoles(label="label"), [1, 2, 3]),  # the liked one
        (
            {"label": [1, 1, 1, 0], "time": [1, 2, 3, 4]},
            ColumnRoles(label="label", time="time"),
            [0, 1, 2],
        ),  # label, then time
    ],
)
def test_one_row_of_a_pair_stays(columns: dict[str, list[int]], keys: ColumnRoles, kept: list[int]) -> None:
    tables = RawTables(pairs(row=[0, 1, 2, 3], **columns), None, None, keys).resolve([], [])
    collapsed, dropped = collapse(tables)
    assert collapsed.interactions["row"].to_list() == kept
    assert collapsed.query_rows.tolist() == tables.query_rows[kept].tolist()
    assert dropped == 1
