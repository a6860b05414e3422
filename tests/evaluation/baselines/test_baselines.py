"""Baselines against naive formulas, scikit-learn, and the published numbers on the original files."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers.lists import ragged
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import group
from dssm_lightning.evaluation.baselines import (
    EASE,
    Baseline,
    BaselineData,
    ItemKNN,
    LabelMeans,
    PopularityBaseline,
    TermBaseline,
    default_baselines,
    ease,
    item_knn,
    sparse_inverse,
)
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.retrieval import postings
from dssm_lightning.retrieval.term_search import BM25, TfIdf

TITLES = [
    "The Matrix (1999)",
    "the the  THE matrix\treloaded",
    "Ça ne mange pas de pain — à table!",
    "a b c a",
    "Привет, мир! c++ & c#",
    "東京 物語",
    "x",
    "matrix matrix",
]
QUERIES = ["matrix", "THE pain table", "zzz qqq", "", "привет c++ c++", "東京", "a x"]


def ask(rows: list[int]) -> EvaluationBatch:
    nothing = ragged([[] for _ in rows])
    return EvaluationBatch({}, torch.tensor(rows, dtype=torch.int64), nothing, nothing, None)


def text_data(queries: list[str], corpus: list[str]) -> BaselineData:
    empty = ragged([[] for _ in queries])
    return BaselineData(positives=empty, num_candidates=len(corpus), query_texts=queries, corpus_texts=corpus)


@pytest.fixture
def liked() -> Tensor:
    """(12, 7) who liked what; query 3 has no history, nobody liked candidate 6."""
    matrix = (torch.rand(12, 7, generator=torch.Generator().manual_seed(4)) < 0.5).double()
    matrix[3], matrix[:, 6] = 0.0, 0.0
    return matrix


@pytest.fixture
def data(liked: Tensor) -> BaselineData:
    query, candidate = liked.nonzero().T
    return BaselineData(positives=group(query, candidate, len(liked)), num_candidates=liked.shape[1])


def test_popularity_counts_queries(liked: Tensor, data: BaselineData) -> None:
    baseline = PopularityBaseline()
    baseline.fit(data)
    assert torch.equal(baseline.scores(ask([3, 0])), liked.sum(0).float().expand(2, -1))


@pytest.fixture(params=["by candidate", "by query", "by query, without weights of pairs"])
def fewer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, BaselineData]:
    """Likes (U, N) with more queries than candidates, or with fewer, and queries and candidates of one like."""
    queries, candidates = (40, 9) if request.param == "by candidate" else (9, 40)
    if request.param.endswith("pairs"):
        monkeypatch.setattr(ease, "FEW_QUERIES", 0)
    matrix = (torch.rand(queries, candidates, generator=torch.Generator().manual_seed(7)) < 0.3).double()
    matrix[1], matrix[2], matrix[3] = 0.0, 0.0, 0.0  # query 3 has no history
    matrix[1, 4] = matrix[2, 4] = 1.0  # two likes of candidate 4 that join no two candidates
    matrix[:, 6] = 0.0
    query, candidate = matrix.nonzero().T
    return matrix, BaselineData(positives=group(query, candidate, queries), num_candidates=candidates)


@pytest.mark.parametrize("exact", [True, False])
def test_ease_is_its_closed_form(
    monkeypatch: pytest.MonkeyPatch, fewer: tuple[Tensor, BaselineData], exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(sparse_inverse, "MAX_EXACT_SIDE", 0)
    liked, data = fewer
    baseline = EASE(l2=2.0)
    baseline.fit(data)
    # each column by itself: ridge regression on all other columns
    x, n = liked.numpy(), liked.shape[1]
    weights = np.zeros((n, n))
    for j in range(n):
        others = [i for i in range(n) if i != j]
        a = x[:, others]
        weights[others, j] = np.linalg.solve(a.T @ a + 2.0 * np.eye(n - 1), a.T @ x[:, j])
    rows = [5, 3, 0, 5, 1]
    assert baseline.scores(ask(rows)).numpy() == pytest.approx(x[rows] @ weights, abs=1e-5)


@pytest.mark.parametrize("queries", [1, 0])
def test_nothing_is_liked_together(queries: int) -> None:
    data = BaselineData(positives=ragged([[2]] * queries + [[]]), num_candidates=4)
    for baseline in (EASE(), ItemKNN()):
        baseline.fit(data)
        assert baseline.scores(ask([0])).tolist() == [[0.0] * 4]


@pytest.mark.parametrize("pairs", [1 << 26, 20])
def test_item_knn_adds_the_similarities_of_the_nearest(
    monkeypatch: pytest.MonkeyPatch, liked: Tensor, data: BaselineData, pairs: int
) -> None:
    monkeypatch.setattr(item_knn, "PAIRS_AT_ONCE", pairs)
    baseline = ItemKNN(neighbours=2, shrink=3.0)
    baseline.fit(data)
    x, n = liked.numpy(), liked.shape[1]
    expected = np.zeros_like(x)
    for j in range(n):
        similar = {
            i: float(x[:, i] @ x[:, j] / (np.linalg.norm(x[:, i]) * np.linalg.norm(x[:, j]) + 3.0))
            for i in range(n)
            if i != j
        }
        for i in similar:
            if sum(other > similar[i] + 1e-9 for other in similar.values()) < 2:  # equally near neighbours both count
                expected[:, j] += x[:, i] * similar[i]
    assert baseline.scores(ask(list(range(12)))).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("entries", [1 << 24, 3])
def test_tf_idf_has_the_numbers_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    monkeypatch.setattr(postings, "_AT_ONCE", entries)
    baseline = TermBaseline(TfIdf())
    baseline.fit(text_data(QUERIES, TITLES))
    reference = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True).fit(TITLES)
    expected = (reference.transform(QUERIES) @ reference.transform(TITLES).T).toarray()
    rows = list(range(len(QUERIES)))
    assert baseline.scores(ask(rows)).numpy() == pytest.approx(expected, abs=1e-6)
    assert baseline.scores(ask([4, 0])).numpy() == pytest.approx(expected[[4, 0]], abs=1e-6)
    assert baseline.scores(ask([])).shape == (0, len(TITLES))


def test_bm25_is_its_formula() -> None:
    corpus = ["grep finds lines", "find finds files by name", "lines lines lines", "sort sorts"]
    queries = ["lines finds lines", "files", "nothing"]
    baseline = TermBaseline(BM25(k1=1.7, b=0.4))
    baseline.fit(text_data(queries, corpus))
    documents = [Counter(t.split()) for t in corpus]
    mean_length = sum(sum(d.values()) for d in documents) / len(documents)
    expected = np.zeros((len(queries), len(corpus)))
    for q, query in enumerate(queries):
        for word in query.split():  # a repeated word counts again
            df = sum(word in d for d in documents)
            for c, d in enumerate(documents):
                damping = 1.7 * (1 - 0.4 + 0.4 * sum(d.values()) / mean_length)
                expected[q, c] += math.log(1 + (4 - df + 0.5) / (df + 0.5)) * d[word] * 2.7 / (d[word] + damping)
    assert baseline.scores(ask([0, 1, 2])).numpy() == pytest.approx(expected, abs=1e-6)


def test_label_means_by_hand() -> None:
    # query 0 likes a and b, not c; query 1 likes a, not b: 3 of 5 pairs are liked
    data = BaselineData(positives=ragged([[0, 1], [0], []]), shown=ragged([[2], [1], []]), num_candidates=4)
    baseline = LabelMeans(shrink=1)
    baseline.fit(data)
    of_candidate = [(0.4 + 0.4) / 3, (0.4 - 0.6) / 3, -0.6 / 2, 0.0]
    of_query = [
        (0.4 - of_candidate[0] + 0.4 - of_candidate[1] - 0.6 - of_candidate[2]) / 4,
        (0.4 - of_candidate[0] - 0.6 - of_candidate[1]) / 3,
        0.0,  # nothing is known of it
    ]
    expected = [[0.6 + q + c for c in of_candidate] for q in of_query]
    assert baseline.scores(ask([0, 1, 2])).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_label_means_of_what_was_never_shown_are_finite() -> None:
    baseline = LabelMeans(shrink=0)
    baseline.fit(BaselineData(positives=ragged([[0], []]), shown=ragged([[1], []]), num_candidates=3))
    assert baseline.scores(ask([1])).tolist() == [[1.0, 0.0, 0.5]]


def test_a_corpus_of_empty_texts_scores_nothing() -> None:
    for baseline in (TermBaseline(TfIdf()), TermBaseline(BM25())):
        baseline.fit(text_data(["a"], ["", " "]))
        assert baseline.scores(ask([0])).tolist() == [[0.0, 0.0]]


def test_each_baseline_names_its_obstacle(monkeypatch: pytest.MonkeyPatch, data: BaselineData) -> None:
    def obstacles(given: BaselineData) -> dict[str, str | None]:
        return {str(baseline): baseline.obstacle(given) for baseline in default_baselines()}

    found = obstacles(data)
    assert [name for name, why in found.items() if why is None] == [
        "Popularity()",
        "ItemKNN(neighbours=100, shrink=10.0)",
        "EASE(l2=100.0)",
        "EASE(l2=300.0)",
        "EASE(l2=1000.0)",
    ]
    assert "label 0" in (found["LabelMeans(shrink=10.0)"] or "")
    for name in ("TfIdf()", "BM25(k1=1.2, b=0.75)"):
        assert "queries and candidates have no text" in (found[name] or "")
    new = BaselineData(positives=data.positives, num_candidates=7, evaluated=torch.tensor([3]))
    assert "training positive" in (obstacles(new)["EASE(l2=100.0)"] or "")
    assert "no time" in (found["RecentPopularity(days=1.0)"] or "")
    monkeypatch.setattr(ease, "MAX_SIDE", 4)
    assert re.search(r"6 candidates.*limit: 4", obstacles(data)["EASE(l2=100.0)"] or "")
    monkeypatch.setattr(item_knn, "MAX_PAIRS", 8)
    assert re.search(r"pairs.*limit: 8", obstacles(data)["ItemKNN(neighbours=100, shrink=10.0)"] or "")
    assert obstacles(text_data(["a"], ["b"]))["BM25(k1=1.2, b=0.75)"] is None


def test_ease_needs_a_penalty() -> None:
    with pytest.raises(ValueError, match="l2 is 0"):
        EASE(l2=0)


def test_label_means_need_a_shrink() -> None:
    with pytest.raises(ValueError, match="shrink is -1"):
        LabelMeans(shrink=-1)


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"shrink": -1.0}])
def test_item_knn_needs_neighbours(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"ItemKNN: (neighbours is 0|shrink is -1\.0)"):
        ItemKNN(**settings)


def test_a_baseline_is_measured_like_a_model(data: BaselineData) -> None:
    # candidate 6 is nobody's training positive: popularity ranks it last, or ties it with other unliked ones
    baseline, evaluation = PopularityBaseline(), Evaluation([1], labelled=False)
    baseline.fit(data)
    batch = EvaluationBatch({}, torch.tensor([3]), ragged([[6]]), ragged([[]]), None)
    first = baseline.evaluate([batch], evaluation)
    assert first["mrr"] == pytest.approx(1 / 7)
    assert baseline.evaluate([batch], evaluation) == first  # nothing is left over


def read_ratings(path: Path) -> tuple[Tensor, Tensor]:
    """Rows of user and film, counted from 0, of the ratings that are at least 4."""
    table = pl.read_csv(path, separator="\t", has_header=False, new_columns=["user", "film", "rating", "time"])
    positive = table.filter(pl.col("rating") >= 4)
    return tuple(torch.from_numpy(positive[name].to_numpy().copy()) - 1 for name in ("user", "film"))  # type: ignore[return-value]  # two of them


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (PopularityBaseline(), {"query_auroc": 0.8724, "precision@10": 0.067, "ndcg@10": 0.1108}),
        (EASE(l2=1000), {"query_auroc": 0.9293}),
        (EASE(l2=300), {"precision@10": 0.1537, "ndcg@10": 0.2602}),
    ],
    ids=str,
)
def test_published_numbers_on_movielens(movielens_root: Path, baseline: Baseline, expected: dict[str, float]) -> None:
    folder = movielens_root / "ml-100k"
    positives = group(*read_ratings(folder / "ua.base"), 943)
    relevant = group(*read_ratings(folder / "ua.test"), 943)
    baseline.fit(BaselineData(positives=positives, num_candidates=1682))
    batch = EvaluationBatch({}, torch.arange(943), relevant, positives, None)
    found = baseline.evaluate([batch], Evaluation([10], labelled=False))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.001)


def test_published_numbers_on_tldr(movielens_root: Path) -> None:
    folder = movielens_root / "tldr"
    if not folder.is_dir():
        pytest.skip("DSSM_DATA has no folder tldr")
    pages = pl.read_csv(folder / "pages.tsv", separator="\t", quote_char=None)
    held_out = (folder / "heldout_queries.txt").read_text(encoding="utf-8").splitlines()
    examples = pl.read_csv(folder / "examples.tsv", separator="\t", quote_char=None)
    events = examples.filter(pl.col("example_text").is_in(held_out)).select("example_text", "page_id").unique()
    row_of = {page: row for row, page in enumerate(pages["page_id"])}
    texts = events["example_text"].to_list()
    baseline = TermBaseline(TfIdf())
    baseline.fit(text_data(texts, (pages["title"] + " " + pages["description"]).to_list()))
    relevant = ragged([[row_of[page]] for page in events["page_id"]])
    batch = EvaluationBatch({}, torch.arange(len(texts)), relevant, ragged([[]] * len(texts)), None)
    found = baseline.evaluate([batch], Evaluation([1, 10, 100], labelled=False))
    expected = {"hit_rate@1": 0.183, "hit_rate@10": 0.385, "hit_rate@100": 0.588, "mrr": 0.250}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.001)
