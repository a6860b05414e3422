"""Raw tables: resolving, collapsing of repeated pairs, and the message of each error."""

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


def test_ids_of_different_widths_agree() -> None:
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


# -- errors ---------------------------------------------------------------------------------------------------------


def refused(
    message: str, raw: RawTables, query_columns: list[str] | None = None, candidate_columns: list[str] | None = None
) -> None:
    with pytest.raises(ValueError, match=message):
        raw.resolve(query_columns or [], candidate_columns or [])


def test_a_missing_column_is_named_with_the_existing_columns() -> None:
    columns = r"query_id, text; .*query_id, .*, score; .*'text'\?"
    refused(rf"query .*'texd': .*{columns}", make_raw(), ["texd"])
    refused(r"candidate .*'nome': .*name, candidate_id; .*'name'\?", make_raw(), [], ["nome"])
    refused(r"candidate .*'hour': .*candidates has name", make_raw(), [], ["hour"])
    flat = make_raw(queries=None, candidates=None)
    refused(r"query .*'ages': .*interactions has .*'age'\?", flat, ["ages"])
    refused(r"candidate .*'titel': .*interactions has .*'title'\?", flat, [], ["titel"])
    refused(r"display .*'nam': .*candidates has .*'name'\?", make_raw(display=("nam",)))


@pytest.mark.parametrize("key", ["query_id", "candidate_id", "label", "weight", "time"])
def test_a_missing_column_of_a_role_is_named(key: str) -> None:
    keys: dict[str, Any] = {key: "absent"}
    refused(rf"{key} column 'absent': .*interactions has query_id", make_raw(**keys))


def test_each_table_needs_its_id() -> None:
    refused("query_id column 'query_id': .*queries has text", make_raw(queries={"text": ["A"]}))
    refused("candidate_id column 'candidate_id': .*candidates has name", make_raw(candidates={"name": ["A"]}))


def test_a_column_in_both_tables_is_ambiguous() -> None:
    raw = make_raw(queries={**QUERIES, "hour": [1, 2, 3]})
    refused("'hour' .*queries .*interactions", raw, ["hour"])
    assert raw.resolve(["text"], []).queries.columns == ["query_id", "text", "hour"]  # no feature reads it


def test_the_answer_is_no_query_feature() -> None:
    refused("'candidate_id' .*predict", make_raw(), ["candidate_id"])
    refused("'score' .*predict", make_raw(label="score"), ["score"])
    refused("'score' .*predict", make_raw(grade="score"), ["score"])


def test_empty_tables() -> None:
    raw = make_raw()
    empty = RawTables(raw.interactions.clear(), raw.queries, raw.candidates, raw.keys)
    refused("interactions has no rows", empty)
    assert raw.queries is not None
    assert raw.candidates is not None
    refused("queries has no rows", RawTables(raw.interactions, raw.queries.clear(), raw.candidates, raw.keys))
    refused("candidates has no rows", RawTables(raw.interactions, raw.queries, raw.candidates.clear(), raw.keys))


def test_repeated_ids() -> None:
    twice = {"candidate_id": [1, 2, 3, 2, 1], "name": list("abcde")}
    refused("candidates: 2 ids of 'candidate_id' .*first 1, 2;", make_raw(candidates=twice))
    many = {"query_id": [*"abcde", *"abcde"], "text": ["A"] * 10}
    refused("queries: 5 ids of 'query_id' .*first 'a', 'b', 'c', …;", make_raw(queries=many))


def test_null_ids() -> None:
    raw = make_raw({"candidate_id": [1, None, None, 3]})
    refused("interactions: .*'candidate_id' is null in 2 of 4 rows, .*row 1", raw)
    raw = make_raw(queries={"query_id": ["a", "b", None], "text": ["A", "B", "C"]})
    refused("queries: .*'query_id' is null in 1 of 3 rows, .*row 2", raw)


def test_unknown_ids() -> None:
    raw = make_raw({"candidate_id": [1, 9, 9, 8]})
    refused(r"3 of 4 interactions .*2 ids of 'candidate_id' .*candidates \(3 rows\) .*first 9, 8", raw)
    raw = make_raw({"query_id": ["a", "z", "b", "c"]})
    refused(r"1 of 4 interactions .*1 ids of 'query_id' .*queries \(3 rows\) .*first 'z'", raw)


def test_ids_of_different_types() -> None:
    raw = make_raw({"candidate_id": ["1", "2", "1", "3"]})
    refused("'candidate_id' is String in interactions and Int64 in candidates", raw)
    raw = make_raw({"candidate_id": [1.0, 2.0, 1.0, 3.0]})
    refused("interactions: .*'candidate_id' is Float64.*missing values", raw)


@pytest.mark.parametrize(
    ("values", "found"), [([1, 0, 5, 3], "5, 3"), ([1, None, 0, 1], "None"), (["yes", "no", "no", "no"], "'yes', 'no'")]
)
def test_invalid_labels(values: list[Any], found: str) -> None:
    refused(rf"label column 'liked' .*found {found};", make_raw({"liked": values}, label="liked"))


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), None])
def test_invalid_weights(wrong: float | None) -> None:
    raw = make_raw({"w": [1.0, 0.0, wrong, wrong]}, weight="w")
    refused(rf"weight column 'w': 2 of 4 .*first {wrong} in row 2", raw)


def test_weights_of_text() -> None:
    refused("weight column 'w' is String", make_raw({"w": list("abcd")}, weight="w"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, -1, 3], "1 of 4 .*first -1 in row 2"),
        ([1, None, None, 3], "2 of 4 .*first None in row 1"),
        ([1.0, 2.5, 1.0, 3.0], r"1 of 4 .*first 2\.5 in row 1"),
        ([1, 0, 0, 3], "2 liked rows .*grade 0, .*row 1;.*label column"),
        (list("abcd"), "is String"),
    ],
)
def test_invalid_grades(values: list[Any], message: str) -> None:
    refused(f"grade column 'g'.*{message}", make_raw({"g": values}, grade="g"))


def test_a_row_that_is_not_liked_may_have_grade_0() -> None:
    rows = {"g": [1, 0, 2, 3], "liked": [1, 0, 1, 1]}
    assert make_raw(rows, grade="g", label="liked").resolve(["text"], ["name"]).keys.grade == "g"
    all_liked = make_raw({**rows, "liked": [1] * 4}, grade="g", label="liked")
    refused(r"'g': 1 liked rows .*grade 0, .*row 1.*'liked' to 0", all_liked)


def test_invalid_times() -> None:
    refused("time column 't' is String", make_raw({"t": list("abcd")}, time="t"))
    refused("time column 't' is missing in 2 of 4 .*row 1", make_raw({"t": [1.0, None, float("nan"), 2.0]}, time="t"))


def test_rows_that_contradict_each_other_about_a_candidate() -> None:
    raw = make_raw({"title": ["one", "two", "uno", "three"]}, candidates=None)
    refused("1 candidates: candidate_id 1 has title 'one' and 'uno'", raw, [], ["genres", "title"])
    assert len(raw.resolve([], ["genres"]).candidates) == 3  # no feature reads the title


# -- collapsing -----------------------------------------------------------------------------------------------------


def pairs(**columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [1, 1, 2, 1], "candidate_id": [5, 6, 5, 5], **columns})


def test_distinct_pairs_are_kept() -> None:
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
