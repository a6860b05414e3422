"""Baselines that read candidates: against counts by hand, and against profiles from scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.lists import ragged
from sklearn.feature_extraction.text import TfidfVectorizer

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines import AttributePopularity, BaselineData, ContentTfIdf, default_baselines

TEXTS = ["red shoes", "red hat", "a blue hat and shoes", "green tea", "blue tea, hot", "shoes"]


def ask(rows: list[int]) -> EvaluationBatch:
    nothing = ragged([[] for _ in rows])
    return EvaluationBatch({}, torch.tensor(rows, dtype=torch.int64), nothing, nothing, None)


LIKED = ragged([[0, 1], [0], [0, 3], []])  # candidate 0 is liked three times, 1 and 3 once, 2, 4 and 5 never


def test_a_genre_is_as_popular_as_its_liked_candidates_on_average() -> None:
    genres = ragged([[1, 2], [1], [1], [2], [2, 3], []])
    data = BaselineData(positives=LIKED, num_candidates=6, attributes={"genres": genres})
    baseline = AttributePopularity("genres")
    assert baseline.obstacle(data) is None
    baseline.fit(data)
    # genre 1: candidates 0 and 1 are liked (3 + 1) / 2; genre 2: 0 and 3, (3 + 1) / 2; genre 3: nobody, 0
    assert baseline.scores(ask([0, 3])).tolist() == [[2, 2, 2, 2, 1, 0]] * 2
    assert str(baseline) == "AttributePopularity(attribute='genres')"
    assert "'year'" in (AttributePopularity("year").obstacle(data) or "")


def test_content_ranks_as_the_profile_of_what_was_liked() -> None:
    data = BaselineData(positives=LIKED, num_candidates=6, corpus_texts=TEXTS)
    baseline = ContentTfIdf()
    baseline.fit(data)
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 3), sublinear_tf=True).fit_transform(TEXTS).toarray()
    profiles = np.array([vectors[[0, 1]].sum(0), vectors[[0]].sum(0), vectors[[0, 3]].sum(0), 0 * vectors[0]])
    found = baseline.scores(ask([0, 1, 2, 3])).numpy()
    np.testing.assert_allclose(found, profiles @ vectors.T, atol=1e-5)


def test_their_obstacles() -> None:
    without = BaselineData(positives=LIKED, num_candidates=6)
    assert "text" in (ContentTfIdf().obstacle(without) or "")
    nobody = BaselineData(positives=ragged([[]]), num_candidates=6, corpus_texts=TEXTS)
    assert "training positive" in (ContentTfIdf().obstacle(nobody) or "")
    names = [str(each) for each in default_baselines(["genres", "year"])]
    assert names[4:6] == ["AttributePopularity(attribute='genres')", "AttributePopularity(attribute='year')"]


@pytest.mark.parametrize("attributes", [[], ["genres"]])
def test_default_baselines_have_one_for_each_attribute(attributes: list[str]) -> None:
    found = [each.attribute for each in default_baselines(attributes) if isinstance(each, AttributePopularity)]
    assert found == attributes
