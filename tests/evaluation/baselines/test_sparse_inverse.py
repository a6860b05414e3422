"""Inverses of sparse matrices by elimination against those of NumPy, and EASE by them against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.lists import ragged
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import group
from dssm_lightning.evaluation.baselines import EASE, BaselineData, sparse_inverse
from dssm_lightning.evaluation.baselines.liked_together import liked_together
from dssm_lightning.evaluation.baselines.sparse_inverse import dense_side, eliminate, independent_rows, inverse


def likes(queries: int, candidates: int, share: float) -> Tensor:
    """(queries, candidates) float64 of 0 and 1."""
    drawn = torch.rand(queries, candidates, generator=torch.Generator().manual_seed(5))
    return (drawn < share).double()


@pytest.fixture
def matrix() -> Tensor:
    """(90, 90) symmetric, positive, and sparse: most rows meet a few others, and row 7 meets many."""
    x = likes(80, 90, 0.02)
    x[:25, 7] = 1.0
    return x.T @ x + torch.diag(torch.linspace(0.5, 2.0, 90, dtype=torch.float64))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_inverse, "SMALL_SIDE", 1)


@pytest.mark.parametrize(("exact", "error"), [(90, 1e-12), (40, 1e-5), (0, 1e-5)])
def test_the_inverse_is_that_of_numpy(
    monkeypatch: pytest.MonkeyPatch, always: None, matrix: Tensor, exact: int, error: float
) -> None:
    monkeypatch.setattr(sparse_inverse, "MAX_EXACT_SIDE", exact)
    assert len(eliminate(matrix.to_sparse(), 1).rounds) == 2
    order, values = inverse(matrix.to_sparse())
    assert values.dtype == (torch.float64 if exact == 90 else torch.float32)
    assert sorted(order.tolist()) == list(range(90))
    expected = np.linalg.inv(matrix.numpy())[np.ix_(order.numpy(), order.numpy())]
    assert values.numpy() == pytest.approx(expected, abs=error)


def test_a_dense_or_a_small_matrix_is_inverted_as_it_is(matrix: Tensor) -> None:
    order, values = inverse(matrix.to_sparse())  # 90 rows are few
    assert order.tolist() == list(range(90))
    assert torch.equal(values, torch.cholesky_inverse(torch.linalg.cholesky(matrix)))
    assert not eliminate((matrix + 1.0).to_sparse(), 1).rounds  # all rows meet


def test_independent_rows_do_not_meet_and_all_others_meet_one(matrix: Tensor) -> None:
    chosen = independent_rows(matrix.to_sparse()).numpy()
    meets = (matrix.numpy() != 0) & ~np.eye(90, dtype=bool)
    assert not meets[np.ix_(chosen, chosen)].any()
    assert meets[:, chosen].any(axis=1)[~chosen].all()
    assert not chosen[7]  # it meets the most


@pytest.mark.parametrize("shape", [(120, 60), (60, 120)], ids=["by candidate", "by query"])
@pytest.mark.parametrize("pairs", [8, 0], ids=["weights", "no weights"])
def test_ease_by_elimination_is_its_closed_form(
    monkeypatch: pytest.MonkeyPatch, always: None, shape: tuple[int, int], pairs: int
) -> None:
    monkeypatch.setattr("dssm_lightning.evaluation.baselines.ease.FEW_QUERIES", pairs)
    x = likes(*shape, 0.03)
    data = BaselineData(positives=group(*x.nonzero().T, shape[0]), num_candidates=shape[1])
    assert data.dense_side < data.together.side
    baseline = EASE(l2=2.0)
    baseline.fit(data)
    p = np.linalg.inv((x.T @ x).numpy() + 2.0 * np.eye(shape[1]))
    weights = np.eye(shape[1]) - p / np.diag(p)  # Steck 2019, equation 8
    every = torch.arange(shape[0])
    nothing = ragged([[] for _ in every])
    found = baseline.scores(EvaluationBatch({}, every, nothing, nothing, None))
    assert found.numpy() == pytest.approx(x.numpy() @ weights, abs=1e-6)
    rows, between = baseline.weights()
    assert between.numpy() == pytest.approx(weights[np.ix_(rows, rows)], abs=1e-6)


def test_the_dense_side_is_what_is_inverted(monkeypatch: pytest.MonkeyPatch, always: None) -> None:
    sides = []
    plain = sparse_inverse.dense_inverse
    monkeypatch.setattr(sparse_inverse, "dense_inverse", lambda matrix: sides.append(len(matrix)) or plain(matrix))
    for shape in ((120, 60), (60, 120)):
        x = likes(*shape, 0.03)
        data = BaselineData(positives=group(*x.nonzero().T, shape[0]), num_candidates=shape[1])
        EASE(l2=1.0).fit(data)
        assert dense_side(data.together) == sides[-1]
    crowd = ragged([list(range(30)) for _ in range(40)])  # all pairs are liked together
    assert dense_side(liked_together(crowd, 30)) == 30
