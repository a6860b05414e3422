"""A query of any values has the answer that it has among others, with finite scores, or there is one clear line."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.any_value import QUICK, nested, raw_values, scalars
from helpers.retrievers import Distance, given_retriever
from helpers.small import small_data, small_model
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.api import make_retriever
from dssm_lightning.data.sources import Frames
from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedTrigrams,
    History,
    Numeric,
    Vector,
    Words,
)
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.retrieval.retriever import Hit, Retriever
from dssm_lightning.utils.errors import UserError

DAY = datetime.date(2024, 1, 31)
COLUMNS: dict[str, Any] = {
    "user": "7",
    "age": 40.5,
    "joined": DAY,
    "when": DAY,
    "zip": "01234",
    "tags": ["red", "7"],
    "name": "Ann Ö",
    "taste": [0.5, 1.0],
    "history": ["3", "5"],
}


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """An untrained model with a feature of each kind on the query's side, and 20 candidates."""
    rows = range(10)
    queries = pl.DataFrame(
        {
            "user": [str(row) for row in rows],
            "age": [20.5 + row for row in rows],
            "joined": [DAY + datetime.timedelta(days=row) for row in rows],
            "when": [DAY + datetime.timedelta(days=row) for row in rows],
            "zip": [f"0123{row}" for row in rows],
            "tags": [["red", str(row)] for row in rows],
            "name": [f"name {row}" for row in rows],
            "taste": [[row / 10, 1.0] for row in rows],
        }
    )
    candidates = pl.DataFrame({"candidate_id": list(range(20)), "text": [f"thing {row}" for row in range(20)]})
    pairs = [(str(user), (7 * user + step) % 20, step) for user in rows for step in range(6)]
    interactions = pl.DataFrame(pairs, schema=["user", "candidate_id", "time"], orient="row")
    source = Frames(interactions, queries, candidates, query_id="user", candidate_id="candidate_id", time="time")
    query: list[Feature] = [
        Categorical(name="user"),
        Numeric(name="age", missing="indicator"),
        Bucketized(name="age bucket", column="age", num_buckets=3, missing="bucket"),
        Numeric(name="joined", missing="mean"),
        Categorical(name="when"),
        Categorical(name="zip", num_buckets=40),
        CategoricalList(name="tags", separator="|"),
        HashedTrigrams(name="name", num_buckets=99, on_empty="allow"),
        Words(name="words", column="name", on_empty="allow"),
        History(name="history", of="candidate_id"),
    ]
    data = small_data(tmp_path_factory.mktemp("cache"), source=source, query=query)
    model = small_model()
    model.build(data.data.schemas)
    return make_retriever(model.eval(), data)


def attempt(function: Any, *values: Any, **options: Any) -> Any:
    """The result, or the message of one line."""
    try:
        return function(*values, **options)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    return message


def values_of(name: str) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(COLUMNS[name]), st.none(), scalars(), raw_values())


QUERIES = st.fixed_dictionaries({}, optional={name: values_of(name) for name in COLUMNS if name != "taste"})


@QUICK
@given(st.lists(QUERIES, min_size=1, max_size=3))
def test_an_answer_does_not_depend_on_other_queries(retriever: Retriever, queries: list[dict[str, Any]]) -> None:
    alone = [attempt(retriever.search, query, k=5) for query in queries]
    together = attempt(retriever.search_all, queries, k=5)
    for hits in alone:
        if not isinstance(hits, str):
            assert len({hit.id for hit in hits}) == 5
            json.loads(json.dumps([hit.score for hit in hits], allow_nan=False))
    if any(isinstance(hits, str) for hits in alone):
        assert isinstance(together, str)
        return
    for hits, same in zip(alone, together, strict=True):
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in same], abs=1e-4)
    whole = retriever.encode_query(queries)
    each = np.concatenate([retriever.encode_query(query) for query in queries])
    np.testing.assert_allclose(whole, each, rtol=1e-5, atol=1e-6)


@QUICK
@given(st.one_of(raw_values(), st.dictionaries(st.text(max_size=3) | st.integers(), scalars(), max_size=2)))
def test_a_query_of_any_shape_is_answered_or_refused(retriever: Retriever, query: Any) -> None:
    hits = attempt(retriever.search, query, k=3)
    several = isinstance(query, list | tuple)
    assert isinstance(hits, str) or [len(each) for each in (hits if several else [hits])] == [3] * (
        len(query) if several else 1
    )


@QUICK
@given(raw_values())
def test_a_history_of_anything_is_left_out_or_refused(retriever: Retriever, history: Any) -> None:
    hits = attempt(retriever.search, {"history": history}, k=2, exclude_history=True)
    if not isinstance(hits, str):
        assert not {str(hit.id) for hit in hits} & {str(entry) for entry in history or ()}


def best(retriever: Retriever, **query: Any) -> list[Hit]:
    found: list[Hit] = retriever.search(query, k=5)
    return found


def test_the_same_value_in_other_words_has_the_same_answer(retriever: Retriever) -> None:
    same: dict[str, list[Any]] = {
        "user": ["7", 7, 7.0, np.int64(7), np.str_("7")],
        "age": [25, 25.0, "25", " 2.5e1 ", np.float32(25)],
        "joined": [DAY, datetime.datetime(2024, 1, 31), "2024-01-31", "2024-01-31T00:00:00Z"],
        "when": [DAY, datetime.datetime(2024, 1, 31), "2024-01-31", "2024-01-31T01:00:00+01:00"],
        "zip": ["01234"],
        "tags": [["red", "7"], "red|7", ["red", 7], ("red", 7.0), np.array(["red", "7"])],
        "history": [[3, 5], ["3", "5"], [3.0, "5"], [None, 3, 5], np.array([3, 5])],
    }
    for name, values in same.items():
        answers = [best(retriever, **{name: value}) for value in values]
        beside = retriever.search_all([{name: value} for value in [*values, COLUMNS[name]]], k=5)
        for hits in [*answers, *beside[:-1]]:
            assert [hit.id for hit in hits] == [hit.id for hit in answers[0]], name
    unknown = best(retriever, user="nobody")
    assert [hit.score for hit in best(retriever, user=7.0)] != [hit.score for hit in unknown]


def test_the_entries_of_a_history_are_left_out_whatever_their_type(retriever: Retriever) -> None:
    hits = retriever.search({"history": [1.0, "2", 3, np.int8(4)]}, k=16, exclude_history=True)
    assert {hit.id for hit in hits} == set(range(20)) - {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"age": 1e308}, r"'age': column 'age' holds 1e\+308 in row 0"),
        ({"age": "old"}, "'age': column 'age' holds 'old' in row 0"),
        ({"age": DAY}, "'age': .*fitted on numbers"),
        ({"joined": 20240131}, "'joined': .*fitted on dates.*2024-01-31"),
        ({"when": "31/01/2024"}, "'when': .*fitted on dates.*2024-01-31"),
        ({"name": "a\ud800"}, r"column 'name': 'a\\ud800' holds half of a surrogate pair"),
        ({"name": 7}, "'name': column 'name' holds Int64, not text"),
        ({"tags": nested(5000)}, r"'tags': .*\[\["),
        ({"user": nested(5000)}, r"'user': .*list"),
        ({"history": {"id": 1}}, "'history': .*lists"),
        (nested(5000), r"query \[\[.* is neither a text nor an object"),
        ({1: 2}, "query column 1 is unknown"),
        ("a\ud800", "is a bare text"),
        (None, "query None is neither"),
    ],
)
def test_what_is_refused_is_named(retriever: Retriever, query: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        retriever.search(query, k=1)
    assert "\n" not in str(found.value)
    with pytest.raises(UserError):
        retriever.search_all([{"user": "7"}, query], k=1)


@pytest.mark.parametrize("k", [True, 2.0, "2", None, float("nan"), [2]])
def test_k_is_a_whole_number(retriever: Retriever, k: Any) -> None:
    for search in (lambda: retriever.search({"user": "7"}, k), lambda: retriever.search_all([], k)):
        with pytest.raises(UserError, match=re.escape(f"k is {k!r}; it must be a whole number")):
            search()
    assert len(retriever.search({"user": "7"}, np.int64(2))) == 2  # type: ignore[arg-type]  # a whole number, too


def test_scores_are_finite_or_refused() -> None:
    side = Schema((Vector(name="direction", length=2),))
    made: dict[str, Any] = {"schemas": Schemas(side, side), "display": [], "scale": 1e38}
    searcher = given_retriever(**made)
    assert searcher.search({"direction": [1, 0]}, k=1)[0].id == "a"
    with pytest.raises(UserError, match=r"embedding of query \{'direction': \[99.0, 1.0\]\} is not finite"):
        searcher.search({"direction": [99.0, 1.0]}, k=1)
    with pytest.raises(UserError, match="not finite"):  # a product of finite numbers
        given_retriever(**made, embeddings=np.full((4, 2), 1e30)).search({"direction": [1, 1]}, k=1)
    with pytest.raises(UserError, match=r"vectors: row 0 .*nan|vectors.*finite"):
        given_retriever(**made, embeddings=np.full((4, 2), np.nan))
    broken = given_retriever(**made, embeddings=np.full((4, 2), np.nan), scorer=Distance())
    for search in (
        lambda: broken.search({"direction": [0, 1]}, k=1),
        lambda: broken.search_all([{"direction": [0, 1]}], k=1),
    ):
        with pytest.raises(UserError, match=r"a score of query \{'direction': \[0, 1\]\} is not finite"):
            search()
