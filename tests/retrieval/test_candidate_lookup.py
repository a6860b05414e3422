"""Candidates by their words: whoever picks some of them types a part of a name."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from helpers.any_value import LETTERS, QUICK
from helpers.retrievers import given_retriever, shop_retriever, shop_table
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.retrieval.candidate_lookup import CandidateLookup, folded
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.utils.errors import UserError

FILMS = [
    [1, "The Heat", "Action"],
    [2, "Heat", "Crime"],
    [3, "Amélie", "Comedy"],
    [4, "Heat and Dust", "Drama"],
    [5, "White Heat", "Crime"],
    [6, "Theatre of Blood", "Horror"],
    [7, "Se7en", "Crime"],
    [8, "HEAT", "Crime"],
    [9, "Malmö på Ørsted", None],
]


def lookup(rows: list[list[object]] = FILMS, display: tuple[str, ...] = ("title", "genre")) -> CandidateLookup:
    return CandidateLookup(CandidateRows.of(["film", "title", "genre"], rows), display)


def ids(text: str, k: int = 10) -> list[int]:
    return [FILMS[row][0] for row in lookup().find(text, k)]  # type: ignore[misc]  # their first column has numbers


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("heat", [2, 8, 4, 1, 5, 6]),  # exact, its twin, begins with it, a word, a word, within a word
        ("HEAT", [2, 8, 4, 1, 5, 6]),
        ("heat c", [2, 8, 5, 1]),  # every word, in any column: Crime, then Action
        ("crime heat", [2, 8, 5]),
        ("amelie", [3]),
        ("AMÉLIE", [3]),
        ("malmo orsted", [9]),
        ("  heat \n dust ", [4]),
        ("7", [7]),  # the id, and a name
        ("8", [8]),
        ("heat heat", [2, 8, 1, 5, 4, 6]),
        ("zzz", []),
        ("", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (" \t", [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_the_best_come_first(text: str, wanted: list[int]) -> None:
    assert ids(text) == wanted
    for k in range(1, len(wanted) + 2):
        assert ids(text, k) == wanted[:k]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("Ａｂｃ", "abc"),
        ("Ёлка", "елка"),
        ("Ångström", "angstrom"),
        ("İstanbul", "istanbul"),
        ("Œuvre Łódź", "oeuvre lodz"),
        ("❤️", "❤"),
        ("ﬁn", "fin"),
    ],
)
def test_spellings_that_count_as_equal(one: str, other: str) -> None:
    assert folded(one) == folded(other)


def test_what_differs_stays_different() -> None:
    texts = ["猫", "犬", "कि", "के", "🐱", "🐈", "c++", "c#"]
    assert len({folded(text) for text in texts}) == len(texts)


@QUICK
@given(
    names=st.lists(st.text(LETTERS | st.sampled_from("ab é"), max_size=8), min_size=1, max_size=8),
    text=st.text(LETTERS | st.sampled_from("ab e"), max_size=4),
    k=st.integers(1, 9),
)
def test_it_finds_what_a_loop_finds(names: list[str], text: str, k: int) -> None:
    rows = CandidateRows.of(["id", "name"], [[f"#{number}", name] for number, name in enumerate(names)])
    found = CandidateLookup(rows, ["name"]).find(text, k)
    words = folded(text).split()
    every = [
        row for row, name in enumerate(names) if all(word in f"{folded(name)} {folded(f'#{row}')}" for word in words)
    ]
    assert len(found) == len(set(found)) == min(k, len(every))
    assert set(found) <= set(every)
    assert k < len(every) or sorted(found) == every


def test_a_retriever_finds_candidates(tmp_path: Path) -> None:
    retriever = shop_retriever(tmp_path, shop_table(30))
    (hit,) = retriever.find("I7")
    assert (hit.id, hit.score) == ("i7", 0.0)
    assert (
        hit.display
        == retriever.search("list files", 30)[[h.id for h in retriever.search("list files", 30)].index("i7")].display
    )
    assert [hit.id for hit in retriever.find("", 3)] == ["i0", "i1", "i2"]
    assert len(retriever.find("", 99)) == 30
    assert retriever.find("i35") == []
    retriever.add(shop_table(6, first=30).to_dicts())
    assert [hit.id for hit in retriever.find("i35")] == ["i35"]
    retriever.remove(["i35"])
    assert retriever.find("i35") == []
    retriever.close()
    with pytest.raises(UserError, match="closed"):
        retriever.find("i7")


def test_lists_and_values_without_a_name_are_found() -> None:
    table = pl.DataFrame({"id": ["a", "b"], "name": [None, "x"], "tags": [["New", "red"], None], "size": [1.5, 2.0]})
    retriever = given_retriever(["name", "tags", "size"], table=table, embeddings=[[1, 0], [0, 1]])
    assert [hit.id for hit in retriever.find("red new")] == ["a"]
    assert [hit.id for hit in retriever.find("2")] == ["b"]


def test_without_shown_columns_the_id_is_searched() -> None:
    assert [hit.id for hit in given_retriever(()).find("C")] == ["c"]


@pytest.mark.parametrize("k", [0, -1, 2.5, True, None, "3"])
def test_a_wrong_k_is_refused(k: object) -> None:
    with pytest.raises(UserError, match=f"k is {k!r}"):
        given_retriever().find("a", k)  # type: ignore[arg-type]  # of another type


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="7 is no text"):
        given_retriever().find(7)  # type: ignore[arg-type]  # of another type


def test_many_threads_make_one_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    build = CandidateLookup.__init__

    def counted(self: CandidateLookup, *arguments: object) -> None:
        made.append(self)
        time.sleep(0.05)
        build(self, *arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(CandidateLookup, "__init__", counted)
    retriever = given_retriever()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(retriever.find, ["bee"] * 16))
    assert len(made) == 1
    assert {hits[0].id for hits in found} == {"b"}


def test_a_large_corpus_is_searched_in_milliseconds() -> None:
    """Of 100,000 candidates: 5 to 20 ms where it is quiet; the best of some calls counts."""
    rows = CandidateRows.of(["id", "name"], ([n, f"name {n % 977} of {n}"] for n in range(100_000)))
    found = CandidateLookup(rows, ["name"])
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(found.find("name 5", 20)) == 20
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.25
