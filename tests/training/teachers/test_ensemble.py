"""Several teachers as one: each on the scale of the first."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.small import small_data
from helpers.teachers import Table
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.training.teachers import BM25Teacher, Ensemble, ensemble
from dssm_lightning.utils.errors import UserError

CPU = torch.device("cpu")


def knowing(data: RetrievalData, seed: int) -> Tensor:
    """Random scores (R, N), with more for each row's own candidate."""
    own = data.data.interactions.candidate
    scores = torch.randn(len(own), data.num_candidates, generator=torch.Generator().manual_seed(seed))
    return scores + 3 * torch.nn.functional.one_hot(own, data.num_candidates)


@pytest.mark.parametrize("sample", [1024, 25])
def test_by_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(ensemble, "SAMPLE", sample)
    data = small_data(tmp_path)
    one, two = knowing(data, 0), knowing(data, 1) * 40 + 7
    teacher = Ensemble([Table(one), Table(two)])
    teacher.bind(data, CPU)
    interactions = data.data.interactions
    rows = interactions.rows(TRAIN, label=1).tolist()
    if sample == 25:
        rows = [rows[place * len(rows) // 25] for place in range(25)]
    corpus = [place * 40 // min(sample, 40) for place in range(min(sample, 40))]
    margins = [
        sum(float(table[row, interactions.candidate[row]] - table[row, corpus].mean()) for row in rows) / len(rows)
        for table in (one, two)
    ]
    expected = (one + two * margins[0] / margins[1]) / 2
    asked, ids = torch.tensor([8, 0, 100]), torch.tensor([[3, 4], [39, 0], [5, 5]])
    torch.testing.assert_close(teacher.score(asked, ids), expected[asked[:, None], ids], rtol=1e-4, atol=1e-4)


def test_the_scale_of_a_teacher_changes_nothing_but_the_scale(tmp_path: Path) -> None:
    """Two teachers that are scaled and shifted have equal weight; the first gives the scale."""
    data = small_data(tmp_path)
    one, two = knowing(data, 0), knowing(data, 1)
    found = []
    for first, second in ((one, two), (one, two * 100 - 3)):
        teacher = Ensemble([Table(first), Table(second)])
        teacher.bind(data, CPU)
        scores = teacher.score(torch.arange(50), torch.arange(40))
        found.append(scores - scores.mean(1, keepdim=True))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_one_teacher_is_itself(tmp_path: Path) -> None:
    data, alone = small_data(tmp_path), BM25Teacher()
    teacher = Ensemble([BM25Teacher()])
    teacher.open()
    for each in (teacher, alone):
        each.bind(data, CPU)
    rows, ids = torch.arange(9), torch.arange(40)
    assert torch.equal(teacher.score(rows, ids), alone.score(rows, ids))
    assert teacher.signature == "Ensemble of BM25(k1=1.2, b=0.75)"


def test_a_teacher_that_knows_nothing_is_refused(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    with pytest.raises(UserError, match=r"teacher Table scores training positives -\d.* above the corpus"):
        Ensemble([BM25Teacher(), Table(-knowing(data, 0))]).bind(data, CPU)


def test_no_teacher_is_refused() -> None:
    with pytest.raises(UserError, match=r"Ensemble: teachers is \[\]"):
        Ensemble([])


def test_weights_by_a_loop(tmp_path: Path) -> None:
    """Of tables with equal margins: 3 parts of the first and 1 of the second."""
    data = small_data(tmp_path)
    one = knowing(data, 0)
    two = one * 5  # five times the scale of the first, so the scaled scores are equal
    three = knowing(data, 1)
    teacher, plain = Ensemble([Table(one), Table(two)], weights=[3, 1]), Ensemble([Table(one), Table(three)])
    heavy = Ensemble([Table(one), Table(three)], weights=[1, 1e-6])
    for each in (teacher, plain, heavy):
        each.bind(data, CPU)
    rows, ids = torch.arange(50), torch.arange(40)
    torch.testing.assert_close(teacher.score(rows, ids), one[:50], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(heavy.score(rows, ids), one[:50], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(plain.score(rows, ids), one[:50], atol=0.1)
    third = 2 * plain.score(rows, ids) - one[:50]  # the second teacher on the scale of the first
    weighted = Ensemble([Table(one), Table(three)], weights=[0.5, 1.5])
    weighted.bind(data, CPU)
    torch.testing.assert_close(weighted.score(rows, ids), (one[:50] + 3 * third) / 4, rtol=1e-3, atol=1e-3)
    assert weighted.signature == "Ensemble of 0.5 × Table and 1.5 × Table"


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "weights has 1 numbers for 2 teachers"), ([1, 0], "weights is 0;"), ([1, -2.0], r"weights is -2\.0;")],
)
def test_refused_weights(weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=f"Ensemble: {message}"):
        Ensemble([BM25Teacher(), BM25Teacher()], weights)
