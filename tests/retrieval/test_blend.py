"""Blends of two scores: against numbers by hand, and what they do with excluded and equal scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dssm_lightning.retrieval.blend import HYBRID, Blend, chosen_blend
from dssm_lightning.utils.errors import UserError

MODEL = np.array([[0.9, 0.1, 0.5, -0.3]], np.float32)
WORDS = np.array([[0.0, 6.0, 3.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("form", "model", "words"),
    [
        ("range", [1.0, 1 / 3, 2 / 3, 0.0], [0.0, 1.0, 0.5, 0.0]),
        ("max", [1.0, 1 / 9, 5 / 9, -1 / 3], [0.0, 1.0, 0.5, 0.0]),
        (
            "deviation",
            [each / math.sqrt(0.8 / 4) for each in (0.6, -0.2, 0.2, -0.6)],
            [each / math.sqrt(24.75 / 4) for each in (-2.25, 3.75, 0.75, -2.25)],
        ),
    ],
)
def test_convex_forms_by_hand(form: Any, model: list[float], words: list[float]) -> None:
    found = Blend(form, 0.25).combine(MODEL, WORDS)
    expected = [0.75 * own + 0.25 * other for own, other in zip(model, words, strict=True)]
    np.testing.assert_allclose(found, [expected], atol=1e-6)
    np.testing.assert_allclose(Blend(form, 0.0).combine(MODEL, WORDS), [model], atol=1e-6)
    np.testing.assert_allclose(Blend(form, 1.0).combine(MODEL, WORDS), [words], atol=1e-6)


@pytest.mark.parametrize("form", ["range", "max", "deviation"])
def test_excluded_candidates_change_nothing(form: Any) -> None:
    scores = np.random.default_rng(0).normal(size=(3, 9))
    words = np.random.default_rng(1).random((3, 9))
    out = scores.copy()
    out[:, [2, 7]] = -math.inf
    kept = [column for column in range(9) if column not in (2, 7)]
    found = Blend(form, 0.4).combine(out, words)
    assert np.all(found[:, [2, 7]] == -math.inf)
    np.testing.assert_allclose(found[:, kept], Blend(form, 0.4).combine(scores[:, kept], words[:, kept]))


@pytest.mark.parametrize("form", ["range", "max", "deviation"])
def test_equal_scores_decide_nothing(form: Any) -> None:
    """A query without a known word: BM25 gives every candidate 0, and the model alone decides."""
    found = Blend(form, 0.4).combine(MODEL, np.zeros_like(MODEL))
    assert np.argsort(-found[0]).tolist() == np.argsort(-MODEL[0]).tolist()
    only_excluded = np.full((1, 2), -math.inf)
    assert np.all(Blend(form, 0.4).combine(only_excluded, np.ones((1, 2))) == -math.inf)
    assert Blend(form, 0.4).combine(np.ones((1, 1)), np.ones((1, 1))).shape == (1, 1)


@pytest.mark.parametrize(
    ("form", "weight", "named"),
    [("sum", 0.5, "form is 'sum'.*ranks"), ("range", 1.5, "weight is 1.5.*'range'"), ("ranks", -1, "weight is -1")],
)
def test_wrong_blends_are_refused(form: Any, weight: Any, named: str) -> None:
    with pytest.raises(UserError, match=f"hybrid: {named}"):
        Blend(form, weight)


def test_the_file_of_a_run(tmp_path: Path) -> None:
    assert chosen_blend(None) is None
    assert chosen_blend(tmp_path) is None
    for content, named in (
        ("[1]", "no form"),
        ('{"form": "range"}', "no weight"),
        ('{"form": "rang", "weight": 1}', "'rang'"),
        ("{", HYBRID),
    ):
        (tmp_path / HYBRID).write_text(content)
        with pytest.raises(UserError, match=f"{HYBRID}.*{named}" if content != "{" else named):
            chosen_blend(tmp_path)
    (tmp_path / HYBRID).write_text(json.dumps({"form": "max", "weight": 0.25, "metric": "ndcg@10"}))
    assert chosen_blend(tmp_path) == Blend("max", 0.25)
