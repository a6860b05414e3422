"""What a retriever says of a query: known and unknown values, and what is cut off."""

from __future__ import annotations

import pytest
from helpers.retrievers import given_retriever, shop_retriever

from dssm_lightning.features import Categorical, HashedTrigrams, History, Vector, Words
from dssm_lightning.features.readings import Truncation
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

QUERY = [Words(name="words", max_length=2), History(name="seen", of="item", max_length=2)]
CANDIDATE = [Categorical(name="item"), HashedTrigrams(name="text")]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return shop_retriever(tmp_path_factory.mktemp("shop"), query=QUERY, candidate=CANDIDATE)


def test_a_query_is_read(retriever: Retriever) -> None:
    item = retriever.schemas.candidate["item"]
    assert isinstance(item, Categorical)
    known = (item.vocabulary or ())[0]
    query = {"words": "list zebra file", "seen": ["i1", known, "zz"]}
    words, seen = retriever.read(query)
    assert [tuple(each) for each in words.values] == [("list", True), ("zebra", False)]
    assert [tuple(each) for each in seen.values] == [(known, True), ("zz", False)]
    cuts = [Truncation("words", "words", 2, 3, "words"), Truncation("seen", "seen", 2, 3, "entries")]
    assert retriever.truncations(query) == cuts == [*words.truncations, *seen.truncations]


def test_a_candidate_is_read(retriever: Retriever) -> None:
    item, text = retriever.read({"item": "new", "text": "Copy"}, "candidate")
    assert (item.unknown, text.unit, text.kept) == (["new"], "trigrams", 4)
    assert retriever.truncations({"item": "new", "text": "Copy"}, "candidate") == []


def test_what_a_search_refuses_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match=r"wrods.*did you mean 'words'"):
        retriever.read({"wrods": "list"})
    with pytest.raises(UserError, match="wrods"):
        retriever.truncations({"wrods": "list"})
    with pytest.raises(UserError, match=r"'words'.*null or empty"):
        retriever.read({"seen": []})
    assert retriever.truncations({"words": 7, "seen": "i1"}) == []


def test_a_history_of_whole_candidates_knows_those_of_the_corpus() -> None:
    direction, seen = Vector(name="direction", length=2), History(name="seen", of="candidate", max_length=3)
    retriever = given_retriever(schemas=Schemas(Schema((direction, seen)), Schema((direction,))))
    query = {"direction": [0, 1], "seen": ["d", "a", "zz", "b"]}
    _, reading = retriever.read(query)
    assert [tuple(each) for each in reading.values] == [("a", True), ("zz", False), ("b", True)]
    assert reading.truncations == (Truncation("seen", "seen", 3, 4, "entries"),)
    retriever.remove(["b"])
    assert retriever.read(query)[1].unknown == ["zz", "b"]
