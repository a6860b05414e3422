"""Searches by terms: by hand, changed without the old texts, saved, and in a process without torch and Polars."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features.text import words_and_letters
from dssm_lightning.retrieval import postings as postings_module
from dssm_lightning.retrieval import term_search
from dssm_lightning.retrieval.postings import Postings
from dssm_lightning.retrieval.term_index import TermIndex
from dssm_lightning.retrieval.term_search import BM25, TfIdf
from dssm_lightning.utils.errors import UserError

KINDS: list[Callable[[], TermIndex]] = [BM25, TfIdf, lambda: BM25(k1=0.5, b=0.2)]
IDS = ["BM25", "TfIdf", "BM25(k1=0.5, b=0.2)"]
PAGES = ["red cat", "blue dog", "red red dog", "", "Größe über Maß", None, "bird c++ c++", "the the the cat"]
ASKED = ["red dog", "bird unknown", "", "größe", "the CAT the", "zzz"]
WORDS = st.lists(st.sampled_from(["a", "red", "cat", "c++", "Maß", "bird", "is", "  ", "!?"]), max_size=5)
TEXTS = st.lists(st.none() | WORDS.map(" ".join), max_size=12)


def fitted(kind: Callable[[], TermIndex], texts: list[str | None]) -> TermIndex:
    index = kind()
    index.fit(texts)
    return index


def assert_same(index: TermIndex, expected: TermIndex) -> None:
    """To the last bit."""
    assert index.count == expected.count
    assert index._postings is not None
    assert expected._postings is not None
    for ours, theirs in zip((*index._postings, index._weights), (*expected._postings, expected._weights), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(index.scores(ASKED), expected.scores(ASKED))


# -- scores ------------------------------------------------------------------------------------------------------------


def test_bm25_by_hand() -> None:
    """N = 3, mean length 2: "red" is in two texts, "cat" in one; "red" stands twice in the query."""
    index = fitted(BM25, ["red cat", "red red dog", "x"])
    red, cat = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    first = 2 * red * 2.2 / (1 + 1.2 * 1.0) + cat * 2.2 / (1 + 1.2 * 1.0)
    second = 2 * red * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    found = index.scores(["red cat red"])
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([first, second, 0.0], rel=1e-6)


def test_tf_idf_by_hand() -> None:
    """The only trigrams of "cat" are those of the first text; the second has none of them, the third all of them."""
    index = fitted(TfIdf, ["cat", "dog", "cat cat dog"])
    both = (1 + math.log(2)) * (math.log(4 / 3) + 1), 1.0 * (math.log(4 / 3) + 1)  # of "cat", and of "dog"
    cosine = both[0] / math.sqrt(both[0] ** 2 + both[1] ** 2)
    assert index.scores(["CAT"])[0].tolist() == pytest.approx([1.0, 0.0, cosine], rel=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@pytest.mark.parametrize("entries", [1 << 15, 2])
def test_scores_are_the_sums_of_a_loop(
    kind: Callable[[], TermIndex], entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings_module, "_AT_ONCE", entries)
    index = fitted(kind, PAGES)
    postings = index._postings
    assert postings is not None
    queries, places = index._bags(ASKED).known_in(postings.terms)
    own = index._query_weights(queries, postings.found_in[places], postings.num_texts)
    expected = np.zeros((len(ASKED), len(PAGES)))
    for term, place in enumerate(places):
        for asked in range(queries.starts[term], queries.starts[term + 1]):
            for posting in range(postings.starts[place], postings.starts[place + 1]):
                row = expected[queries.texts[asked]]
                row[postings.texts[posting]] += own[asked] * index._weights[posting]
    assert index.scores(ASKED) == pytest.approx(expected, rel=1e-6)
    assert index.scores(ASKED)[[2, 5]].any() == 0
    assert index.scores([]).shape == (0, len(PAGES))


@pytest.mark.parametrize("kind", KINDS[:2], ids=IDS[:2])
@given(texts=TEXTS, queries=TEXTS)
def test_a_query_scores_the_same_alone_and_among_others(
    kind: Callable[[], TermIndex], texts: list[str | None], queries: list[str | None]
) -> None:
    index = fitted(kind, texts)
    together = index.scores(queries)
    for query, row in zip(queries, together, strict=True):
        np.testing.assert_array_equal(index.scores([query])[0], row)


@pytest.mark.parametrize("kind", KINDS[:2], ids=IDS[:2])
def test_equal_texts_have_equal_scores(kind: Callable[[], TermIndex]) -> None:
    """Wherever they stand: ties stay ties."""
    words = [f"w{number}" for number in range(40)]
    numbers = np.random.default_rng(3)
    texts: list[str | None] = [" ".join(numbers.choice(words, 9)) for _ in range(200)]
    found = fitted(kind, [*texts, *texts[::-1]]).scores([text or "" for text in texts[:20]])
    np.testing.assert_array_equal(found[:, :200], found[:, :199:-1])


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_many_texts_score_as_few(kind: Callable[[], TermIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    few = fitted(kind, PAGES)
    monkeypatch.setattr(term_search, "MANY_TEXTS", 1)
    assert_same(fitted(kind, PAGES), few)


def test_a_query_reads_only_the_postings_of_its_terms() -> None:
    index = fitted(BM25, PAGES)
    assert index._postings is not None
    terms = index._bags(["bird"]).terms
    mine = np.repeat(np.isin(index._postings.terms, terms), index._postings.found_in)
    index._weights[~mine] = np.nan
    assert index.scores(["bird"])[0].nonzero()[0].tolist() == [6]


def test_whitespace_of_any_script_separates_words() -> None:
    index = fitted(TfIdf, ["dog\u3000cat", "dog\u00a0cat", "dog\x1ccat", "dog\0cat", "dogcat"])
    found = index.scores(["cat dog"])[0]
    assert found[:4] == pytest.approx(1.0)
    assert found[4] < 0.9


@pytest.mark.parametrize("kind", KINDS[:2], ids=IDS[:2])
@pytest.mark.parametrize("texts", [[], ["", None, " \t"]])
def test_a_corpus_without_a_term_scores_nothing(kind: Callable[[], TermIndex], texts: list[str | None]) -> None:
    assert fitted(kind, texts).scores(["a", ""]).tolist() == [[0.0] * len(texts)] * 2


@pytest.mark.parametrize("kind", KINDS[:2], ids=IDS[:2])
def test_what_is_no_text_is_refused(kind: Callable[[], TermIndex]) -> None:
    with pytest.raises(UserError, match=r"row 1 is 7"):
        fitted(kind, ["a", 7])  # type: ignore[list-item]  # it is wrong
    with pytest.raises(UserError, match=r"row 1.*surrogate"):
        fitted(kind, ["a"]).scores(["a", "b\ud800"])
    with pytest.raises(UserError, match=r"fit or load"):
        kind().scores(["a"])


@pytest.mark.parametrize(
    "settings", [{"k1": -1}, {"k1": math.inf}, {"k1": math.nan}, {"k1": "1"}, {"b": 1.5}, {"b": -0.1}, {"b": True}]
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any]) -> None:
    [(name, value)] = settings.items()
    with pytest.raises(UserError, match=f"BM25: .*{name} is {value!r}"):
        BM25(**settings)


# -- changes of the corpus ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@given(texts=TEXTS, further=TEXTS, data=st.data())
def test_a_changed_index_is_that_of_all_texts(
    kind: Callable[[], TermIndex], texts: list[str | None], further: list[str | None], data: st.DataObject
) -> None:
    index, both = fitted(kind, texts), texts + further
    longer = index.extended(further)
    assert_same(longer, fitted(kind, both))
    rows = data.draw(st.lists(st.integers(0, len(both) - 1), unique=True) if both else st.just([]))
    left = [text for row, text in enumerate(both) if row not in rows]
    assert_same(longer.without(rows), fitted(kind, left))
    assert_same(longer.refitted(further), fitted(kind, further))
    assert_same(index, fitted(kind, texts))  # stays as it was


def test_settings_stay() -> None:
    index = BM25(k1=0.5, b=0.2)
    index.fit(["a"])
    assert str(index.extended(["b"]).without([0])) == "BM25(k1=0.5, b=0.2)"


def test_an_index_answers_while_another_is_made_of_it() -> None:
    index = fitted(BM25, PAGES)
    expected, wrong = index.scores(ASKED), []

    def ask() -> None:
        wrong.extend(1 for _ in range(50) if not np.array_equal(index.scores(ASKED), expected))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    changed = index
    for _ in range(30):
        changed = changed.extended(["red bird"]).without([0])
    for thread in threads:
        thread.join(timeout=20)
    assert not wrong
    assert changed.count == index.count


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([8], "no row 8; the index has 8"),
        ([-1], "no row -1"),
        ([True], "bool"),
        ([1.0], "float64"),
        ([[1]], r"\(1, 1\)"),
        (["1"], "rows are"),
    ],
)
def test_wrong_rows_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fitted(BM25, PAGES).without(rows)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fitted(BM25, PAGES).save(tmp_path / "terms")
    return tmp_path / "terms"


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@pytest.mark.parametrize("texts", [PAGES, ["", None], []], ids=["pages", "no word", "no text"])
def test_a_saved_index_answers_as_before(
    kind: Callable[[], TermIndex], texts: list[str | None], tmp_path: Path
) -> None:
    index = fitted(kind, texts)
    for _ in range(2):  # replaces an earlier one
        index.save(tmp_path / "terms")
    loaded = type(index).load(tmp_path / "terms")
    assert str(loaded) == str(index)
    assert_same(loaded, index)
    assert_same(loaded.extended(["a red"]).without([0]), index.extended(["a red"]).without([0]))


def test_arrays_are_mapped_and_not_read(folder: Path) -> None:
    weights: Any = BM25.load(folder)._weights
    while weights.base is not None and not isinstance(weights, np.memmap):
        weights = weights.base
    assert isinstance(weights, np.memmap)


@pytest.mark.parametrize("name", ["terms", "starts", "texts", "times", "lengths", "weights"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage", "shape", "dtype", "pickle"])
def test_a_damaged_array_is_named(folder: Path, name: str, damage: str) -> None:
    path = folder / f"{name}.npy"
    array = np.load(path)
    path.unlink()
    if damage == "cut":
        np.save(path, array[:-1])
    elif damage == "garbage":
        path.write_bytes(b"\x93NUMPY" + bytes(500))
    elif damage == "shape":
        np.save(path, np.append(array, array[-1:]))
    elif damage == "dtype":
        np.save(path, array.astype(np.float64 if array.dtype == np.float32 else np.int16).repeat(4)[: len(array)])
    elif damage == "pickle":
        np.save(path, np.array([None] * 100, object), allow_pickle=True)
    with pytest.raises(UserError, match=rf"{name}\.npy.*build the index again"):
        BM25.load(folder)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("starts", 0, 1),
        ("starts", -1, 3),
        ("starts", 2, 0),
        ("starts", 1, 1 << 40),
        ("terms", 0, (1 << 64) - 1),
        ("texts", 0, -1),
        ("texts", 3, 8),
        ("times", 0, 0),
        ("lengths", 1, -2),
        ("weights", 0, np.nan),
        ("weights", 4, np.inf),
    ],
)
def test_numbers_that_are_impossible_are_refused(folder: Path, name: str, place: int, value: float) -> None:
    array = np.load(folder / f"{name}.npy")
    array[place] = value
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(UserError, match=rf"{name}\.npy is damaged"):
        BM25.load(folder)


def test_a_text_twice_in_a_term_is_refused(folder: Path) -> None:
    texts, starts = np.load(folder / "texts.npy"), np.load(folder / "starts.npy")
    term = int(np.argmax(np.diff(starts) > 1))
    texts[starts[term] + 1] = texts[starts[term]]
    np.save(folder / "texts.npy", texts)
    with pytest.raises(UserError, match=r"texts\.npy is damaged"):
        BM25.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2.*newer"),
        ({"format": "1"}, "damaged"),
        ({"kind": "TfIdf"}, "'TfIdf'.*BM25"),
        ({"kind": None}, "damaged"),
        ({"rule": 99}, "version 99.*build the index again"),
        ({"candidates": 9}, r"lengths\.npy"),
        ({"candidates": -1}, "damaged"),
        ({"candidates": True}, "damaged"),
        ({"candidates": 1 << 40}, "damaged"),
        ({"terms": 1 << 47}, r"terms\.npy"),
        ({"postings": 1 << 60}, "damaged"),
        ({"settings": {"k1": 1, "depth": 2}}, "depth"),
        ({"settings": {"k1": -1}}, "k1 is -1"),
        ({"settings": {"k1": "1"}}, "damaged"),
        ({"settings": None}, "damaged"),
    ],
    ids=str,
)
def test_a_description_that_is_wrong_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    path = folder / "terms.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        BM25.load(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", "[" * 3000, '{"format": NaN}', " " * 100_000])
def test_a_description_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "terms.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"terms\.json"):
        BM25.load(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no terms\.json"):
        BM25.load(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"terms\.json.*another folder"):
        fitted(BM25, ["a"]).save(tmp_path)
    with pytest.raises(UserError, match="fit or load"):
        BM25().save(tmp_path / "new")


def test_the_rule_of_words_has_its_version() -> None:
    assert BM25.rule == words_and_letters.VERSION


# -- others ------------------------------------------------------------------------------------------------------------


def test_postings_without_the_terms_that_a_vocabulary_lacks() -> None:
    postings = Postings.of(np.array([9, 5, 9, 2], np.uint64), np.array([2, 0, 2]))
    found, places = postings.known_in(np.array([2, 3, 9], np.uint64))
    assert (found.terms.tolist(), places.tolist(), found.starts.tolist()) == ([2, 9], [0, 2], [0, 1, 3])
    assert found.texts.tolist() == [2, 0, 2]
    assert found.num_texts == 3


def test_one_query_loads_neither_torch_nor_polars(folder: Path) -> None:
    code = f"""
import sys
import numpy as np
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.term_search import BM25, TfIdf
hybrid = Hybrid(BM25.load({str(folder)!r}), ["asks"])
fused = hybrid.fuse(np.zeros((1, 8), np.float32), hybrid.texts_of([{{"asks": "Größe bird"}}]))
assert fused.argsort()[0, -2:].tolist() in ([4, 6], [6, 4]), fused
changed = hybrid.index.extended(["blue bird"]).without([1])
assert changed.scores(["bird"]).shape == (1, 8)
index = TfIdf()
index.fit(["list files", "copy a file"])
assert index.scores(["copying"]).argmax() == 1
print(*sys.modules)
"""
    line = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {"torch", "polars", "lightning", "torchmetrics", "tokenizers", "PIL"}
