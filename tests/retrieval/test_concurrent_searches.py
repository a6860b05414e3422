"""Searches of several threads, beside changes of the corpus: each has the answer that it has alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.retrievers import WORDS, shop_retriever, shop_table

from dssm_lightning.retrieval.retriever import Retriever

QUERIES = [f"{WORDS[n % 15]} {WORDS[(n * n + 3) % 15]}" for n in range(50)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"filter": "sold"},
    {"hybrid": 1.0},
    {"exclude": ["i1", "i2"], "filter": "price > 2"},
]


@pytest.fixture(params=["of a model", "of a bundle"])
def retriever(request: pytest.FixtureRequest, tmp_path: Path) -> Retriever:
    if request.param == "of a model":
        return shop_retriever(tmp_path)
    return Retriever.load(request.getfixturevalue("shop_bundle"))


def searched(retriever: Retriever, number: int) -> list[Any]:
    """50 searches, in an order and with options of their own."""
    found: list[Any] = [None] * 50
    for step in range(50):
        place = (step * 7 + number * 11) % 50
        found[place] = retriever.search(QUERIES[place], k=5, **OPTIONS[place % len(OPTIONS)])
    return found


def test_eight_threads_find_what_one_finds(retriever: Retriever) -> None:
    wanted = searched(retriever, 0)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == wanted for found in pool.map(searched, [retriever] * 8, range(8)))


def test_searches_beside_changes_see_the_corpus_before_or_after(retriever: Retriever) -> None:
    """A thread adds and removes a candidate that scores below or above others: no answer mixes two corpora."""
    new = {**shop_table(1, first=77).to_dicts()[0], "item": "new"}
    without = searched(retriever, 0)
    retriever.add([new])
    with_it = searched(retriever, 0)
    assert with_it != without
    done, changes = threading.Event(), []

    def change() -> None:
        while not done.is_set():
            retriever.remove(["new"])
            retriever.add([new])
            changes.append(1)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(searched, [retriever] * 8, range(8)))
    finally:
        done.set()
        changing.join(timeout=60)
    assert not changing.is_alive()
    assert len(changes) > 1
    for found in results:
        for one, before, after in zip(found, without, with_it, strict=True):
            assert one in (before, after)


def test_changes_of_several_threads_are_all_made(retriever: Retriever) -> None:
    rows = shop_table(40, first=100).to_dicts()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: retriever.add([row]), rows))
    assert len(retriever) == 70
    assert {retriever.corpus.rows.id(row) for row in range(30, 70)} == {row["item"] for row in rows}


def test_the_same_question_has_the_same_answer(retriever: Retriever) -> None:
    first = searched(retriever, 0)
    assert all(searched(retriever, number) == first for number in range(3))
    batches = [retriever.search(QUERIES, k=5) for _ in range(3)]
    assert batches[0] == batches[1] == batches[2]
