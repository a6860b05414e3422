"""``/encode`` and ``/score`` answer as the retriever does; pictures are bytes in base64, and never paths."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.any_value import QUICK
from helpers.gallery import make_gallery, picture_file
from helpers.serving import Server, served
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.retrieval.retriever import Retriever

LIMITS = {"max_batch": 300, "max_pixels": 100, "max_history": 4, "max_text": 4_000}
PHOTO = picture_file(40)
TEXT = base64.b64encode(PHOTO).decode()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def server(gallery: Path) -> Iterator[Server]:
    with served(f"gallery={gallery}", limits=LIMITS) as found:
        yield found


@pytest.fixture(scope="module")
def retriever(gallery: Path) -> Retriever:
    return Retriever.load(gallery)


def test_embeddings_are_those_of_the_retriever(server: Server, retriever: Retriever) -> None:
    queries: list[Any] = [{"words": "number 3"}, {"liked": ["i1", "i2"]}, {"words": "x", "liked": []}]
    found = server.post("/encode", {"query": queries}).value
    np.testing.assert_allclose(found["embeddings"], retriever.encode_query(queries), atol=1e-6)
    assert (found["truncated"], found["bundle"]) == ([[], [], []], "gallery")
    one = server.post("/encode", {"query": queries[0]}).value
    np.testing.assert_allclose(one["embeddings"], retriever.encode_query(queries[0]), atol=1e-6)
    candidates: list[Any] = [{"item": "i2", "title": "thing"}, {"title": "new"}]
    found = server.post("/encode", {"candidate": candidates}).value
    np.testing.assert_allclose(found["embeddings"], retriever.encode_candidate(candidates), atol=1e-6)


def test_a_large_answer_is_complete(server: Server, retriever: Retriever) -> None:
    queries: list[Any] = [{"words": f"number {n}"} for n in range(300)]
    found = server.post("/encode", {"query": queries}).value["embeddings"]
    np.testing.assert_allclose(found, retriever.encode_query(queries), atol=1e-6)


def test_joined_embeddings_are_those_of_one_at_a_time(server: Server, retriever: Retriever) -> None:
    candidates: list[Any] = [{"title": f"number {n}"} for n in range(50)]
    for _ in range(2):
        found = server.post_all("/encode", [{"candidate": each} for each in candidates])
    for candidate, answer in zip(candidates, found, strict=True):
        np.testing.assert_allclose(answer.value["embeddings"], retriever.encode_candidate(candidate), atol=1e-6)


def test_scores_are_those_of_the_retriever(server: Server, retriever: Retriever) -> None:
    candidates: list[Any] = [{"item": "i1", "title": "thing"}, {"title": "x"}]
    found = server.post("/score", {"query": {"words": "thing"}, "candidates": candidates}).value
    assert found["scores"] == pytest.approx(retriever.score({"words": "thing"}, candidates), abs=1e-6)
    assert found["truncated"] == {"query": [], "candidates": [[], []]}
    one = server.post("/score", {"query": {"words": "thing"}, "candidates": candidates[0]}).value
    assert one["scores"] == pytest.approx(found["scores"][:1], abs=1e-6)


@pytest.mark.parametrize("text", [TEXT, f"data:image/png;base64,{TEXT}"], ids=["base64", "data URL"])
@pytest.mark.parametrize("several", [False, True])
def test_a_picture_is_the_base64_text_of_its_file(
    server: Server, retriever: Retriever, text: str, several: bool
) -> None:
    query = {"words": "thing", "photo": text}
    found = server.post("/encode", {"query": [query] if several else query}).value["embeddings"]
    np.testing.assert_allclose(found, retriever.encode_query({"words": "thing", "photo": PHOTO}), atol=1e-6)
    hits = server.post("/search", {"query": query, "k": 5}).value["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in retriever.search({**query, "photo": PHOTO}, 5)]


@pytest.mark.parametrize(
    ("photo", "found"),
    [
        ("/etc/passwd", "not base64"),
        ("photo.png", "not base64"),
        ("/dev/zero", "photo"),
        ("https://example.com/a.png", "not base64"),
        ("file:///etc/passwd", "not base64"),
        ("data:text/html,<b>", "not base64"),
        ("é", "not base64"),
        ("AAAA", "picture"),
        (TEXT[:60], "photo"),
        (7, "base64 text, not a int"),
        ([TEXT], "base64 text, not a list"),
        ({"path": "x"}, "base64 text, not a dict"),
        (base64.b64encode(picture_file(1, 11, 10)).decode(), "11 × 10 pixels.*at most 100"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_picture_is_refused(
    server: Server, photo: Any, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.png").write_bytes(PHOTO)
    monkeypatch.chdir(tmp_path)
    for path, body in (
        ("/search", {"query": {"photo": photo}, "k": 3}),
        ("/encode", {"query": [{"photo": photo}]}),
        ("/encode", {"candidate": {"picture": photo}}),
        ("/score", {"query": {"words": "x"}, "candidates": {"picture": photo}}),
    ):
        answer = server.post(path, body)
        assert answer.status == 422, answer.content
        assert re.search(found.replace("photo", "photo|picture"), answer.error), answer.error


def test_an_empty_picture_is_none(server: Server) -> None:
    empty = [server.post("/encode", {"query": {"words": "a", **each}}).value for each in ({}, {"photo": ""})]
    assert empty[0] == empty[1] == server.post("/encode", {"query": {"words": "a", "photo": None}}).value


def test_a_long_history_is_refused_and_a_known_one_left_out(server: Server) -> None:
    answer = server.post("/search", {"query": {"liked": ["i1"] * 5}, "k": 3})
    assert (answer.status, "'liked' has 5 entries" in answer.error) == (422, True)
    query = {"words": "number 1", "liked": ["i1", "i2", "i3"]}
    found = server.post("/search", {"query": query, "k": 9, "exclude_history": True}).value["hits"]
    assert sorted(hit["id"] for hit in found) == ["i0", "i10", "i11", *(f"i{n}" for n in range(4, 10))]


@pytest.mark.parametrize(
    ("path", "body", "status", "found"),
    [
        ("/encode", {}, 422, "exactly one of query and candidate; neither"),
        ("/encode", {"query": {"words": "a"}, "candidate": {"title": "a"}}, 422, "both"),
        ("/encode", {"query": []}, 422, "query is an empty list"),
        ("/encode", {"candidate": []}, 422, "candidate is an empty list"),
        ("/encode", {"query": [{"words": "a"}] * 301}, 413, "query has 301 entries"),
        ("/encode", {"query": {"words": "a" * 4_001}}, 422, "4,001 characters"),
        ("/encode", {"query": "a bare text"}, 422, "several|columns"),
        ("/score", {"query": {"words": "a"}, "candidates": []}, 422, "candidates is an empty list"),
        ("/score", {"query": {"words": "a"}, "candidates": [{"title": "a"}] * 301}, 413, "candidates has 301"),
        ("/score", {"query": [{"words": "a"}], "candidates": [{"title": "a"}]}, 422, "query"),
        ("/score", {"query": {"words": "a"}, "candidates": {"titel": "a"}}, 422, "did you mean 'title'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said(server: Server, path: str, body: Any, status: int, found: str) -> None:
    answer = server.post(path, body)
    assert answer.status == status, answer.content
    assert re.search(found, answer.error)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from([TEXT, "AAAA", "i3", "number 3", 10**30, 1e308]),
)
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["id", "seconds"]), each, max_size=2),
    max_leaves=4,
)


@QUICK
@given(query=st.dictionaries(st.sampled_from(["words", "photo", "liked"]), VALUES, max_size=3), several=st.booleans())
def test_any_values_have_an_answer_or_one_line(server: Server, query: Any, several: bool) -> None:
    asked = [query, {"words": "a"}] if several else query
    for path, body in (
        ("/search", {"query": asked, "k": 3, "explain": True}),
        ("/search", {"query": asked, "k": 1, "exclude_history": True}),
        ("/encode", {"query": asked}),
        ("/score", {"query": {"words": "a"}, "candidates": [{"title": "x", "picture": query.get("photo")}]}),
    ):
        answer = server.post(path, body)
        assert answer.status in (200, 422), answer.content
        assert answer.value if answer.status == 200 else answer.error
