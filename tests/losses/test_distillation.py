"""Losses that learn from a teacher: by hand, by a loop, and against torch; the weighted sum of losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores, negative_columns, random_scores

from dssm_lightning.losses import (
    BPR,
    BinaryCrossEntropy,
    EmbeddingMSE,
    KLDivergence,
    Loss,
    MarginMSE,
    SampledSoftmax,
    Scores,
    Taught,
    WeightedSum,
)
from dssm_lightning.utils.errors import UserError


def taught() -> Scores:
    """Eight queries and twelve candidates, of which the last query has only its target."""
    scores = random_scores()
    return scores._replace(teacher=Taught(torch.randn(8, 12, generator=torch.Generator().manual_seed(2)) * 3))


def test_margin_mse_by_hand() -> None:
    valid = torch.tensor([[True, True, True, False]])
    scores = make_scores(torch.tensor([[3.0, 1.0, 0.0, 7.0]]), valid=valid)
    scores = scores._replace(teacher=Taught(torch.tensor([[9.0, 8.0, 6.0, -5.0]])))
    assert MarginMSE()(scores).item() == ((2 - 1) ** 2 + (3 - 3) ** 2) / 2


def test_margin_mse_by_a_loop() -> None:
    scores = taught()
    assert scores.teacher is not None
    for q, value in enumerate(MarginMSE()(scores).tolist()):
        own, student, teacher = int(scores.target[q]), scores.logits[q].tolist(), scores.teacher.score[q].tolist()
        terms = [((student[own] - student[c]) - (teacher[own] - teacher[c])) ** 2 for c in negative_columns(scores, q)]
        assert value == pytest.approx(sum(terms) / max(1, len(terms)), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_divergence_by_a_loop(temperature: float) -> None:
    scores = taught()
    assert scores.teacher is not None
    for q, value in enumerate(KLDivergence(temperature)(scores).tolist()):
        columns = [int(scores.target[q]), *negative_columns(scores, q)]
        p, q_ = (
            [math.exp(float(each[q, c]) / temperature) for c in columns]
            for each in (scores.teacher.score, scores.logits)
        )
        p, q_ = [each / sum(p) for each in p], [each / sum(q_) for each in q_]
        expected = sum(a * math.log(a / b) for a, b in zip(p, q_, strict=True)) * temperature**2
        assert value == pytest.approx(expected, abs=1e-5)


def test_kl_divergence_is_torchs_where_nothing_is_masked() -> None:
    student, teacher = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(3))
    valid = torch.ones((), dtype=torch.bool).expand(5, 9)
    found = KLDivergence()(make_scores(student, valid=valid)._replace(teacher=Taught(teacher)))
    expected = F.kl_div(student.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [MarginMSE(), KLDivergence(2.0)], ids=["MarginMSE", "KLDivergence"])
def test_a_student_that_agrees_has_no_loss_and_no_gradient(loss: Loss) -> None:
    """Also where the teacher's scores are shifted: only differences count."""
    scores = taught()
    logits = scores.logits.clone().requires_grad_()
    value = loss(scores._replace(logits=logits, teacher=Taught(scores.logits + 5)))
    assert value.abs().max() < 1e-5
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-4


@pytest.mark.parametrize("loss", [MarginMSE(), KLDivergence()], ids=["MarginMSE", "KLDivergence"])
def test_masked_columns_have_no_gradient_and_no_nan(loss: Loss) -> None:
    scores = taught()
    logits = scores.logits.clone().requires_grad_()
    loss(scores._replace(logits=logits)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[~scores.valid] == 0).all()
    assert (logits.grad[scores.valid] != 0).sum() > 40


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(UserError, match=rf"KLDivergence: temperature is {temperature}"):
        KLDivergence(temperature)


def test_without_a_teacher() -> None:
    with pytest.raises(UserError, match=r"model\.teacher"):
        MarginMSE()(random_scores())


def test_embedding_mse_is_the_error_of_each_row() -> None:
    scores = taught()
    assert scores.teacher is not None
    error = torch.arange(8.0)
    assert torch.equal(EmbeddingMSE()(scores._replace(teacher=scores.teacher._replace(error=error))), error)
    with pytest.raises(UserError, match="EmbeddingMSE"):
        EmbeddingMSE()(scores)


# -- sums -----------------------------------------------------------------------------------------------------------


def test_a_weighted_sum_is_the_sum_of_its_parts() -> None:
    scores = taught()
    found = WeightedSum([SampledSoftmax, lambda: KLDivergence(2.0)], [0.25, 3.0])(scores)
    torch.testing.assert_close(found, 0.25 * SampledSoftmax()(scores) + 3 * KLDivergence(2.0)(scores))
    torch.testing.assert_close(WeightedSum([BPR])(scores), BPR()(scores))


def test_a_sum_is_what_its_parts_are() -> None:
    both = WeightedSum([BinaryCrossEntropy, MarginMSE])
    assert (both.uses_labels, both.compares, both.uses_teacher, both.symmetric) == (True, False, True, False)
    assert not both.uses_teacher_embeddings
    assert WeightedSum([BPR, EmbeddingMSE]).uses_teacher_embeddings
    pair = WeightedSum([lambda: SampledSoftmax(symmetric=True), lambda: KLDivergence(symmetric=True)])
    assert (pair.uses_labels, pair.compares, pair.uses_teacher, pair.symmetric) == (False, True, True, True)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"losses": []}, r"losses is \[\]"),
        ({"losses": [BPR, MarginMSE], "weights": [1.0]}, "weights has 1 values, and there are 2"),
        ({"losses": [BPR], "weights": [0.0]}, "weights is 0.0"),
        ({"losses": [BPR], "weights": [math.nan]}, "weights is nan"),
        ({"losses": [BPR, lambda: SampledSoftmax(symmetric=True)]}, "symmetric"),
    ],
    ids=["none", "too few weights", "zero", "nan", "one is symmetric"],
)
def test_a_sum_of_nothing_or_of_unequal_parts_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"WeightedSum: {named}"):
        WeightedSum(**settings)
