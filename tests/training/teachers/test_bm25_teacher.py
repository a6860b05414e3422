"""BM25 as a teacher: the scores of the search over the features' texts, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data
from helpers.teachers import Table

from dssm_lightning.data.batching import evaluation_batches
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import Categorical, HashedWords, LikedBy
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.training.teachers import BM25Teacher, terms
from dssm_lightning.utils.errors import UserError

CPU = torch.device("cpu")
TEXT = HashedWords(name="text", num_buckets=300)


@pytest.mark.parametrize("at_once", [evaluation_batches.MAX_SCORES, 100])
@pytest.mark.parametrize("liked_by", [False, True], ids=["plain", "liked by"])
def test_scores_by_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, liked_by: bool) -> None:
    """The queries that like a candidate are no text of it: each row would find itself."""
    monkeypatch.setattr(terms, "MAX_SCORES", at_once)  # 2 queries at a time
    candidate: list[Any] = [TEXT, *([LikedBy(name="likers", of="text")] if liked_by else [])]
    data, teacher = small_data(tmp_path, candidate=candidate), BM25Teacher(k1=0.9)
    teacher.bind(data, CPU)
    index = BM25(k1=0.9)
    tables = Synthetic(num_queries=60, num_candidates=40).tables()
    index.fit(pl.DataFrame(tables.candidates)["text"].to_list())
    texts = dict(pl.DataFrame(tables.queries).select("query_id", "text").iter_rows())
    rows, columns = torch.tensor([3, 200, 3, 77, 9]), torch.randint(40, (5, 4))
    names = data.data.queries["query_id"].gather(data.data.interactions.query[rows].numpy()).to_list()
    expected = torch.from_numpy(index.scores([texts[name] for name in names]))
    ids = torch.tensor([7, 7, 0, 39])
    assert torch.equal(teacher.score(rows, ids), expected[:, ids])
    assert torch.equal(teacher.score(rows, columns), expected.gather(1, columns))
    assert (expected > 0).sum() > 20


@pytest.mark.parametrize(
    ("side", "features", "named"),
    [
        ("query", [Categorical(name="query_id")], "query features read no text"),
        ("candidate", [Categorical(name="candidate_id")], "candidate features read no text"),
        ("query", [HashedWords(name="device", num_buckets=9)], r"query features .*\['device'\] varies by event"),
    ],
    ids=["no query text", "no candidate text", "by event"],
)
def test_a_side_without_a_text_is_refused(tmp_path: Path, side: str, features: list[Any], named: str) -> None:
    with pytest.raises(UserError, match=rf"teacher BM25\(.*\): the {named}"):
        BM25Teacher().bind(small_data(tmp_path, evaluate="event", **{side: features}), CPU)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"BM25: k1 is -1"):
        BM25Teacher(k1=-1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_score_that_is_not_finite_is_named(value: float) -> None:
    scores = torch.zeros(9, 12)
    scores[5, 7] = value
    for ids in (torch.tensor([1, 7]), torch.tensor([[1, 1], [7, 2]])):
        with pytest.raises(UserError, match=rf"teacher Table: .*interaction row 5 .*corpus row 7 is {value}"):
            Table(scores).score(torch.tensor([2, 5]), ids)
