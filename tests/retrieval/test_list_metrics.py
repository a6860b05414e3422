"""The metrics of one list without torch are those of the evaluation, ties included."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import ir_measures
import pytest
import torch
from helpers.lists import ragged
from ir_measures import AP, RR, P, nDCG

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.retrieval.list_metrics import LIST_METRICS, list_metrics


def by_evaluation(scores: list[float], labels: list[float]) -> dict[str, float]:
    """The same list as a batch of the evaluation."""
    relevant = [place for place, label in enumerate(labels) if label > 0]
    batch = EvaluationBatch(
        {},
        torch.tensor([0]),
        ragged([relevant]),
        ragged([[]]),
        ragged([[place for place, label in enumerate(labels) if label == 0]]),
        grade=torch.tensor([labels[place] for place in relevant]),
        listed=ragged([list(range(len(labels)))]),
    )
    evaluation = Evaluation([1, 10], labelled=True, longest_list=len(labels))
    evaluation.update(torch.tensor([scores]), batch)
    found = evaluation.compute()
    return {name: found[name] for name in LIST_METRICS}


@pytest.mark.parametrize("seed", range(25))
def test_the_evaluation_computes_the_same(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.randint(1, 30)
    scores = [draw.randint(0, 6) / 4 for _ in range(size)]  # many ties
    labels = [float(draw.choice([0, 0, 1, 2, 3])) for _ in range(size)]
    labels[draw.randrange(size)] = 1.0
    assert list_metrics(scores, labels) == pytest.approx(by_evaluation(scores, labels), abs=1e-9)


def test_ties_are_the_mean_over_every_order() -> None:
    scores, labels = [0.9, 0.5, 0.5, 0.5, 0.1], [0.0, 1.0, 0.0, 2.0, 1.0]
    every: list[dict[str, float]] = []
    for order in itertools.permutations(range(1, 4)):
        apart = list(scores)
        for step, place in enumerate(order):
            apart[place] += step / 100
        every.append(list_metrics(apart, labels))
    mean = {name: sum(each[name] for each in every) / len(every) for name in LIST_METRICS}
    assert list_metrics(scores, labels) == pytest.approx(mean)


def test_ir_measures_computes_the_same_without_ties() -> None:
    draw = random.Random(4)
    scores = [float(value) for value in draw.sample(range(100), 30)]
    labels = [float(draw.choice([0, 0, 1, 2])) for _ in scores]
    qrels = [ir_measures.Qrel("q", str(place), int(label)) for place, label in enumerate(labels)]
    run = [ir_measures.ScoredDoc("q", str(place), score) for place, score in enumerate(scores)]
    wanted: dict[Any, str] = dict(zip((AP, RR, nDCG @ 10, P @ 1), LIST_METRICS, strict=True))
    theirs = ir_measures.calc_aggregate(list(wanted), qrels, run)
    assert list_metrics(scores, labels) == pytest.approx({wanted[each]: theirs[each] for each in wanted}, abs=1e-9)


def test_a_list_without_a_positive_has_no_value() -> None:
    assert all(math.isnan(value) for value in list_metrics([0.5, 0.1], [0, 0]).values())
    assert all(math.isnan(value) for value in list_metrics([], []).values())
    assert set(list_metrics([0.5], [1]).values()) == {1.0}
