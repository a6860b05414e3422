"""``/search`` and ``/similar`` answer as the retriever does, alone and among others, within their limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.any_value import QUICK
from helpers.retrievers import WORDS
from helpers.serving import Answer, Server, served
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.retrieval.retriever import Retriever

LIMITS = {"max_k": 20, "max_batch": 8, "max_answers": 60, "max_text": 200, "max_history": 12, "max_body": 20_000}


@pytest.fixture(scope="module")
def server(shop_bundle: Path) -> Iterator[Server]:
    with served(f"shop={shop_bundle}", f"other={shop_bundle}", limits=LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def retriever(shop_bundle: Path) -> Retriever:
    return Retriever.load(shop_bundle)


def hits_in(values: list[Any]) -> list[Any]:
    return [(value["id"], pytest.approx(value["score"], abs=1e-6), value["display"]) for value in values]


def expected(hits: list[Any]) -> list[Any]:
    return [(hit.id, hit.score, hit.display) for hit in hits]


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 3},
        {"k": 20},
        {"filter": "price > 5"},
        {"filter": "tags = 'red' and made > '2012-01-01'"},
        {"filter": "price > 1e9"},
        {"exclude": ["i3", "i4"]},
        {"hybrid": 1.5},
        {"diversity": 0},
        {"diversity": 0.6, "k": 4},
        {"diversity": 1, "hybrid": True, "k": 4, "exclude": ["i3"]},
        {"hybrid": 0, "filter": "sold = true", "exclude": ["i7"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("query", ["copy file", {"words": "open the user group"}], ids=["text", "object"])
def test_a_search_has_the_retrievers_answer(server: Server, retriever: Retriever, query: Any, options: Any) -> None:
    found = server.post("/search", {"query": query, **options})
    assert found.status == 200, found.content
    assert hits_in(found.value["hits"]) == expected(retriever.search(query, **options))
    assert (found.value["truncated"], found.value["bundle"]) == ([], "shop")
    several = server.post("/search", {"query": [query, "disk", query], **options}).value
    wanted = retriever.search([query, "disk", query], **options)
    assert [hits_in(each["hits"]) for each in several["results"]] == [expected(hits) for hits in wanted]


def test_two_hundred_joined_searches_are_those_of_one_at_a_time(server: Server, retriever: Retriever) -> None:
    queries = [f"{WORDS[n % 15]} {WORDS[(7 * n + 3) % 15]}" for n in range(200)]
    bodies = [{"query": query, "k": 5, "exclude": ["i1"] if n % 3 else []} for n, query in enumerate(queries)]
    server.post_all("/search", bodies)  # what a search takes is known now
    found = server.post_all("/search", bodies)
    for query, body, answer in zip(queries, bodies, found, strict=True):
        alone = retriever.search(query, 5, exclude=body["exclude"])
        assert hits_in(answer.value["hits"]) == expected(alone)
    sizes = [sample for sample in server.serving.telemetry.samples() if sample.name == "dssm_batch_items_count"]
    assert sum(sample.value for sample in sizes if sample.labels["kind"] == "search") < 300, "they were joined"


def test_a_bad_query_among_others_fails_alone(server: Server) -> None:
    bodies = [{"query": {"words": "copy"}}, {"query": {"words": 7}}, {"query": {"word": "x"}}, {"query": "file"}]
    for _ in range(2):
        found = server.post_all("/search", bodies)
        assert [answer.status for answer in found] == [200, 422, 422, 200]
    assert "words" in found[1].error
    assert "did you mean 'words'" in found[2].error
    assert found[0].value == server.post("/search", bodies[0]).value


def test_ids_are_compared_as_the_retriever_does(server: Server) -> None:
    left_out = [{"query": "copy", "exclude": each} for each in (["i3", "i3"], ["i3"])]
    assert server.post("/search", left_out[0]).value == server.post("/search", left_out[1]).value
    assert "no candidate has item = 'true'" in server.post("/search", {"query": "copy", "exclude": [True]}).error
    assert "no candidate has item = '1'" in server.post("/search", {"query": "copy", "exclude": [1.0]}).error


def test_an_explained_search_tells_what_the_model_reads(server: Server) -> None:
    found = server.post("/search", {"query": ["copy file"], "explain": True}).value["results"][0]["reading"]
    assert [(each["column"], each["kind"]) for each in found] == [("words", "HashedWords")]
    assert [value["text"] for value in found[0]["values"]] == ["copy", "file"]
    assert "reading" not in server.post("/search", {"query": "copy file"}).value


def test_another_bundle_answers_by_its_name(server: Server) -> None:
    assert server.post("/search", {"query": "copy", "bundle": "other"}).value["bundle"] == "other"
    found = server.post("/search", {"query": "copy", "bundle": "othr"})
    assert found.status == 404
    assert "'othr'" in found.error
    assert "did you mean 'other'" in found.error


def test_similar_candidates_are_those_of_the_retriever(server: Server, retriever: Retriever) -> None:
    options: dict[str, Any] = {"k": 4, "filter": "sold = true", "exclude": ["i4"]}
    found = server.post("/similar", {"id": "i2", **options})
    assert hits_in(found.value["hits"]) == expected(retriever.similar("i2", **options))
    missing = server.post("/similar", {"id": "i99"})
    assert (missing.status, missing.error) == (404, "no candidate has item = 'i99'")
    assert server.post("/similar", {"id": "i2", "exclude": ["i99"]}).status == 422


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        ({"query": "a", "k": 0}, 422, "k is 0; it must be from 1 to 20"),
        ({"query": "a", "k": -1}, 422, "k is -1"),
        ({"query": "a", "k": 21}, 422, "k is 21.*--max_k"),
        ({"query": "a", "k": 10**300}, 422, "k is 1"),
        ({"query": []}, 422, "query is an empty list"),
        ({"query": ["a"] * 9}, 413, "query has 9 entries.*8"),
        ({"query": ["a"] * 7, "k": 9}, 413, "63 answers.*60.*--max_answers"),
        ({"query": "a" * 201}, 422, "'words' has 201 characters.*200"),
        ({"query": ["a", "b" * 201]}, 422, "'words' has 201 characters"),
        ({"query": {"words": ["a"] * 13}}, 422, "'words' has 13 entries.*12"),
        ({"query": "a", "filter": "x" * 201}, 422, "filter has 201 characters"),
        ({"query": "a", "exclude": ["i1"] * 13}, 422, "exclude has 13 ids"),
        ({"query": "a", "exclude": ["x" * 201]}, 422, "exclude has 201 characters"),
        ({"query": "a", "exclude": [1e300]}, 422, r"2\^53"),
        ({"query": "a", "exclude": [f"i{n}" for n in range(12)], "k": 19}, 422, "k is 19.*12 of them excluded"),
        ({"query": "a", "exclude_history": True}, 422, "exclude_history"),
        ({"query": "a", "diversity": 1.5}, 422, "diversity is 1.5"),
        ({"query": "a", "diversity": -1}, 422, "diversity is -1"),
        ({"query": "a", "diversity": True}, 422, "diversity"),
        ({"query": "a", "diversity": None}, 422, "diversity"),
        ({"query": "a", "hybrid": -1}, 422, "weight is -1"),
        ({"query": "a", "filter": ""}, 422, "filter"),
        ({"query": "a", "filter": "prize > 1"}, 422, "'prize'.*did you mean 'price'"),
        ({"query": "a", "filter": "(" * 190}, 422, "filter"),
        ({"query": {}}, 422, "is empty"),
        ({"query": {"x" * 10_000: 1}}, 422, "is unknown"),
        ({"query": "a", "bundle": "x" * 1000}, 404, "no bundle"),
        ({"query": "a" * 20_001}, 413, "20,000 bytes"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_above_a_limit_is_refused(server: Server, body: Any, status: int, found: str) -> None:
    answer = server.post("/search", body)
    assert answer.status == status, answer.content
    assert re.search(found, answer.error)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 400),
        (b"\xff\xfe", {}, 400),
        (b'{"query": "a"}', {"content-type": "text/plain"}, 415),
        (b'{"query": "a"}', {"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_what_is_no_json_is_refused(server: Server, content: bytes, headers: dict[str, str], status: int) -> None:
    assert server.post("/search", content, **headers).status == status


def test_another_method_is_405(server: Server) -> None:
    found = server.get("/search")
    assert (found.status, found.headers["allow"]) == (405, "OPTIONS, POST")
    assert "GET" in found.error
    page = server.run(server.ask("PUT", "/"))  # two routes have this address
    assert (page.status, page.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


# -- anything ----------------------------------------------------------------------------------------------------------

LETTERS = st.characters(exclude_categories=["Cs"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(LETTERS)
)
VALUES = st.recursive(
    st.one_of(SCALARS, st.sampled_from([10**30, 10**450, "copy", "i3", "shop", "price > 1", 1e308, "\x00"])),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["words", "id", "x"]), each, max_size=2),
    max_leaves=5,
)


@QUICK
@given(data=st.data(), path=st.sampled_from(["/search", "/similar", "/encode", "/score", "/candidates"]))
def test_no_body_is_an_internal_error(server: Server, data: st.DataObject, path: str) -> None:
    names = ["query", "candidate", "candidates", "id", "text", "k", "filter", "exclude", "hybrid", "explain", "bundle"]
    body = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    answer: Answer = server.post(path, json.dumps(body).encode())
    assert answer.status in (200, 400, 404, 413, 422), answer.content
    assert answer.value if answer.status == 200 else answer.error


@QUICK
@given(query=VALUES)
def test_any_query_has_an_answer_or_one_line(server: Server, query: Any) -> None:
    for path, body in (
        ("/search", {"query": query, "k": 3}),
        ("/encode", {"query": {"words": query}}),
        ("/score", {"query": "copy", "candidates": [{"text": query}]}),
    ):
        answer = server.post(path, body)
        assert answer.status in (200, 400, 413, 422), answer.content
        assert answer.value if answer.status == 200 else answer.error
