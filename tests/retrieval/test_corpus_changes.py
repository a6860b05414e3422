"""Candidates that come and go: the retriever then answers as one that was made of the same candidates at once."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.retrievers import EMBEDDINGS, Distance, given_retriever, shop_retriever, shop_table
from helpers.small import SCORER

from dssm_lightning.features import Categorical, Feature, HashedWords, History, Numeric
from dssm_lightning.models.scorers import Dot, MultiHeadDot
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

QUERIES: list[Any] = ["list files", "remove the folder", "zzz", "move user time group"]
FILTERS = (None, "price > 3", "tags = 'red'", "made >= '2015-01-01'", "sold and price < 10", "not tags = 'new'")
ROWS = shop_table(40).to_dicts()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    """All 40 candidates, indexed at once."""
    return shop_retriever(tmp_path_factory.mktemp("whole"), shop_table(40))


@pytest.fixture
def part(tmp_path_factory: pytest.TempPathFactory, whole: Retriever) -> Retriever:
    """The first 30 candidates; a fresh retriever of the same model."""
    made = shop_retriever(tmp_path_factory.mktemp("part"), shop_table(30))
    np.testing.assert_array_equal(made.corpus.embeddings, whole.corpus.embeddings[:30])
    return made


def answers(retriever: Retriever, k: int = 3, **options: Any) -> list[Any]:
    """Ids and scores of each query under each filter, with and without a fusion with BM25."""
    found = []
    for condition in FILTERS:
        for hybrid in (None, 0.7):
            for hits in retriever.search(QUERIES, k, filter=condition, hybrid=hybrid, **options):
                found.append([(hit.id, pytest.approx(hit.score, abs=1e-6), hit.display) for hit in hits])
    found.append([(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in retriever.similar("i3", k)])
    return found


def test_added_candidates_are_found_as_if_they_had_always_been_there(whole: Retriever, part: Retriever) -> None:
    part.add(ROWS[30:32])
    part.add([])
    part.add(ROWS[32:])
    assert answers(part) == answers(whole)
    assert answers(part, k=35) == answers(whole, k=35)
    assert len(part) == 40


def test_removed_candidates_are_as_if_they_had_never_been_there(whole: Retriever, part: Retriever) -> None:
    part.add(ROWS[30:])
    part.remove([f"i{number}" for number in range(30, 40)])
    part.remove([])
    fresh = Retriever(whole.schemas, part.corpus, whole.display, whole.query_texts)
    assert answers(part) == answers(fresh)
    part.remove({"i0", "i7"})
    part.add([ROWS[7], ROWS[0]])
    assert {tuple(hit.id for hit in hits) for hits in part.search(QUERIES, 30)}
    assert [part.corpus.rows.id(row) for row in (0, 28, 29)] == ["i1", "i7", "i0"]


def test_a_refresh_replaces_all_others(whole: Retriever, part: Retriever) -> None:
    part.refresh(ROWS)
    assert answers(part, k=20) == answers(whole, k=20)
    with pytest.raises(UserError, match="at least one"):
        part.refresh([])
    part.refresh(ROWS[4:5])
    assert [hit.id for hit in part.search("anything", k=1)] == ["i4"]
    with pytest.raises(UserError, match="k is 2; the corpus has 1 "):
        part.search("anything", k=2)


def test_a_search_that_has_begun_keeps_its_corpus(part: Retriever) -> None:
    before = part.corpus
    wanted = answers(part)
    part.add(ROWS[30:])
    part.remove(["i1"])
    part.refresh(ROWS[:3])
    assert answers(Retriever(part.schemas, before, part.display, part.query_texts)) == wanted


@pytest.mark.parametrize("scorer", [Dot(2.0), Distance(), MultiHeadDot(2, "max")])
def test_with_every_kind_of_scorer(scorer: Any) -> None:
    retriever = given_retriever(scorer=scorer)
    retriever.remove(["b", "c"])
    retriever.add([{"id": "b", "name": "bee", "size": 2, "direction": [0, 1]}])
    retriever.add([{"id": "c", "name": "cow", "size": 3, "direction": [0.6, 0.8]}])
    wanted = given_retriever(scorer=scorer)
    for direction in ([0.3, 0.4], [-1.0, 0.2]):
        found, expected = (each.search({"direction": direction}, k=4) for each in (retriever, wanted))
        assert [(h.id, pytest.approx(h.score, abs=1e-6), h.display) for h in found] == [tuple(h) for h in expected]


def test_an_index_keeps_its_settings() -> None:
    made = given_retriever()
    corpus = made.corpus
    like = [Exact("int8", rescore="float32")]
    built = Corpus.build(corpus.towers, corpus.rows, corpus.embeddings, None, corpus.kinds, like)
    retriever = Retriever(made.schemas, built, ["name"])
    retriever.add([{"id": "e", "direction": [0.5, 0.5]}])
    retriever.remove(["a"])
    [index] = retriever.corpus.indexes
    assert index.settings == like[0].settings
    assert index.count == 4


# -- what is refused: nothing changes then -----------------------------------------------------------------------------

NEW = {"item": "new", "text": "list"}


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([NEW, {**NEW, "item": "i3"}], "has the id 'i3' already"),
        ([NEW, NEW], "id 'new' of column 'item' occurs twice"),
        ([{"text": "list"}], "has no 'item', which is its id"),
        ([{**NEW, "item": None}], "id 'item' is missing"),
        ([{**NEW, "item": ["x"]}], r"id 'item' is \['x'\].*list"),
        ([{**NEW, "txt": "a"}], "candidate column 'txt' is unknown.*did you mean 'text'"),
        ([{**NEW, 5: "a"}], "candidate column 5 is unknown"),
        ([{}], r"candidate \{\} is empty"),
        (["new"], "candidate 'new' is no object"),
        (NEW, "candidate 'item' is no object"),
        ("new", "candidate 'n' is no object"),
        ([{**NEW, "text": 7}], "'text'.*Int64, not text"),
        ([{**NEW, "text": "\ud800"}], "'text'.*half of a surrogate pair"),
        ([{**NEW, "price": "cheap"}], "column 'price' holds numbers, and 'cheap' is none"),
        ([{**NEW, "price": True}], "column 'price' holds numbers, and True is none"),
        ([{**NEW, "sold": 1}], "column 'sold' holds truth values, and 1 is none"),
        ([{**NEW, "made": "31.1.2024"}], "column 'made' holds dates, and '31.1.2024' is none.*2024-12-31"),
        ([{**NEW, "made": datetime.datetime(2024, 1, 31, 5)}], "column 'made' holds dates.*time of day"),
        ([{**NEW, "made": 2024}], "column 'made' holds dates, and 2024 is none"),
        ([{**NEW, "tags": [b"x"]}], "column tags of candidate 'new' cannot be stored.*bytes"),
    ],
)
def test_a_candidate_that_cannot_be_added(candidates: Any, message: str, whole: Retriever) -> None:
    before = whole.corpus
    for change in (whole.add, whole.refresh):
        if change == whole.refresh and "already" in message:
            continue
        with pytest.raises(UserError, match=message) as error:
            change(candidates)
        assert "\n" not in str(error.value)
    assert whole.corpus is before


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["i1", "nobody"], "no candidate item = 'nobody'"),
        ("i1", r"remove is 'i1'; give a list"),
        (5, "remove is 5"),
        ([f"i{n}" for n in range(40)], "all 40 candidates would be removed"),
        ([None], "id 'item' is missing"),
    ],
)
def test_a_candidate_that_cannot_be_removed(ids: Any, message: str, whole: Retriever) -> None:
    before = whole.corpus
    with pytest.raises(UserError, match=message):
        whole.remove(ids)
    assert whole.corpus is before


def test_ids_are_of_the_kind_of_the_others() -> None:
    retriever = given_retriever(table=pl.DataFrame({"id": [1, 2, 3, 4], "name": ["a"] * 4}))
    retriever.add([{"id": "7", "direction": [9, 9]}])
    assert [hit.id for hit in retriever.search({"direction": [1, 1]}, k=1, filter="id > 4")] == [7]
    with pytest.raises(UserError, match="column 'id' holds numbers, and 'x' is none"):
        retriever.add([{"id": "x", "direction": [9, 9]}])


def test_a_candidate_without_a_needed_feature(tmp_path: Path) -> None:
    candidate: list[Feature] = [Numeric(name="stars"), HashedWords(name="text", num_buckets=50)]
    table = shop_table().with_columns(stars=pl.int_range(30) / 2)
    retriever = shop_retriever(tmp_path, table, candidate=candidate)
    message = r"gives \['item', 'text'\], but not 'stars'.* needs; needed are \['stars'.*\['stars', 'text'\]"
    with pytest.raises(UserError, match=message):
        retriever.add([NEW])
    with pytest.raises(UserError, match="'stars'"):
        retriever.encode_candidate([{"text": "list"}])
    retriever.add([{**NEW, "stars": 2.5}])
    assert retriever.search("list", k=1, filter="stars = 2.5 and item = 'new'")[0].id == "new"


# -- columns and histories of new candidates ---------------------------------------------------------------------------


def test_filters_and_answers_have_the_values_of_new_candidates(part: Retriever) -> None:
    part.add(
        [
            {**NEW, "price": 1e6, "made": "2031-05-01", "sold": None, "tags": ["odd"]},
            {**NEW, "item": 99, "made": datetime.date(2032, 1, 1)},
        ]
    )
    for condition, ids in {
        "price = 1000000": ["new"],
        "made > '2030-01-01'": ["99", "new"],
        "made > '2030-01-01' and price = null": ["99"],
        "tags = 'odd'": ["new"],
        "item in ('new', 'i1')": ["i1", "new"],
    }.items():
        hits = part.search("list", k=5, filter=condition)
        assert sorted(str(hit.id) for hit in hits) == ids, condition
    [hit] = part.search("list", k=1, filter="tags = 'odd'")
    assert hit.display == {"text": "list", "tags": ["odd"]}
    with pytest.raises(UserError, match="id '99' already"):
        part.add([{**NEW, "item": "99"}])
    part.remove([99, "new"])
    assert part.search("list", k=5, filter="made > '2030-01-01'") == []


@pytest.mark.parametrize("of", ["item", "candidate"])
def test_a_history_may_name_new_candidates(of: str, tmp_path: Path) -> None:
    """Whole candidates have their embedding, and ids that training never saw are unknown."""
    tower = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}}
    history = {"history": {"class_path": "GRU", "init_args": {"output_dim": 16}}}
    changes: dict[str, Any] = {
        "query": [History(name="history", of=of)],
        "candidate": [Categorical(name="item"), HashedWords(name="text", num_buckets=300)],
        "model": {
            "query_tower": {"class_path": "Tower", "init_args": {**tower["init_args"], "encoders": history}},
            "candidate_tower": tower,
            "scorer": SCORER,
        },
    }
    retriever = shop_retriever(tmp_path, **changes)
    unknown = retriever.encode_query([{"history": ["i1", "new"]}, {"history": ["i1"]}])
    assert np.array_equal(unknown[0], unknown[1]) == (of == "candidate")
    retriever.add([{**NEW, "text": "quite another text"}])
    known = retriever.encode_query([{"history": ["i1", "new"]}, {"history": ["i1"]}])
    assert np.array_equal(known[0], unknown[0]) == (of == "item")
    hits = retriever.search({"history": ["i1", "new"]}, k=29, exclude_history=True)
    assert {hit.id for hit in hits} == {f"i{n}" for n in range(30)} - {"i1"}
    retriever.remove(["i1", "new"])
    gone = retriever.encode_query([{"history": ["i1", "new"]}, {"history": []}])
    assert np.array_equal(gone[0], gone[1]) == (of == "candidate")


def test_embeddings_that_are_not_finite_are_refused() -> None:
    retriever = given_retriever(scale=1e38, embeddings=EMBEDDINGS)
    with pytest.raises(UserError, match=r"embedding of candidate.*not finite"):
        retriever.add([{"id": "e", "direction": [1e5, 0]}])
    assert len(retriever) == 4
