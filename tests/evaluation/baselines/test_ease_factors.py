"""EASE's matrix as a product of two narrow ones: its closed form, both sides of the matrix, and narrow ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines import EASE, BaselineData
from dssm_lightning.evaluation.baselines.ease_factors import check_ease_factors, ease_factors
from dssm_lightning.utils.ragged import Ragged


def random_likes(queries: int, candidates: int, seed: int = 0) -> tuple[np.ndarray, Ragged]:
    """A dense matrix of likes, with queries that like nothing or one candidate, and its ragged form."""
    matrix = np.random.default_rng(seed).random((queries, candidates)) < 0.3
    matrix[0] = matrix[:, 2] = False
    matrix[1] = np.arange(candidates) == 1
    lengths = torch.from_numpy(matrix.sum(1))
    return matrix.astype(float), Ragged.from_lengths(torch.from_numpy(matrix.nonzero()[1]), lengths)


def closed_form(matrix: np.ndarray, l2: float) -> np.ndarray:
    """Steck's equation 8: B_ij = −P_ij / P_jj, and 0 on the diagonal."""
    inverse = np.linalg.inv(matrix.T @ matrix + l2 * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize(("queries", "candidates"), [(40, 12), (9, 30)])
def test_the_full_rank_is_the_closed_form(queries: int, candidates: int) -> None:
    matrix, positives = random_likes(queries, candidates)
    factors = ease_factors(positives, candidates, l2=3.0, rank=candidates)
    found = (factors.liked @ factors.candidate.T).numpy()
    np.testing.assert_allclose(found, closed_form(matrix, 3.0), atol=1e-6)


def test_sums_over_a_history_score_as_the_baseline_does() -> None:
    matrix, positives = random_likes(25, 14)
    baseline = EASE(l2=5.0)
    baseline.fit(BaselineData(positives=positives, num_candidates=14))
    wanted = baseline.scores(EvaluationBatch({}, torch.arange(25), positives, positives, shown=None))
    factors = ease_factors(positives, 14, l2=5.0, rank=14)
    likes = torch.from_numpy(matrix).float()
    found = likes @ factors.liked @ factors.candidate.T
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_narrow_rank_keeps_the_strongest_directions() -> None:
    """Two groups of queries like two disjoint groups of candidates: two numbers are enough to tell them apart."""
    groups = torch.tensor([[0, 1, 2], [3, 4, 5]])
    positives = Ragged.from_lengths(groups.repeat_interleave(10, 0).flatten(), torch.full((20,), 3))
    factors = ease_factors(positives, 6, l2=1.0, rank=2)
    found = factors.liked @ factors.candidate.T
    assert found[:3, :3].min() > 0.2
    assert found[:3, 3:].abs().max() < 1e-6


@pytest.mark.parametrize("rank", [2, 5, 9])
def test_a_narrow_rank_is_nearly_the_best_of_its_rank(rank: int) -> None:
    """The least error of a rank is √(Σ of the squared singular values that it leaves out)."""
    matrix, positives = random_likes(60, 90)
    wanted = closed_form(matrix, 3.0)
    least = np.sqrt(np.square(np.linalg.svd(wanted)[1][rank:]).sum())
    factors = ease_factors(positives, 90, l2=3.0, rank=rank)
    assert factors.liked.shape == factors.candidate.shape == (90, rank)
    error = np.linalg.norm((factors.liked @ factors.candidate.T).numpy() - wanted)
    assert least - 1e-5 <= error < 1.01 * least


def test_columns_beyond_the_candidates_and_candidates_without_likes_are_zeros() -> None:
    factors = ease_factors(random_likes(40, 12)[1], 12, l2=3.0, rank=20)
    assert factors.liked.shape == factors.candidate.shape == (12, 20)
    for factor in factors:
        assert not factor[2].any()
        assert not factor[:, 12:].any()


def test_the_random_numbers_of_the_run_stay_as_they_are() -> None:
    likes = random_likes(40, 12)[1]
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    first = ease_factors(likes, 12, l2=3.0, rank=4)
    assert torch.equal(torch.rand(4), wanted)
    assert torch.equal(ease_factors(likes, 12, l2=3.0, rank=4).liked, first.liked)


def test_bad_settings_and_data_without_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    likes = random_likes(5, 6)[1]
    with pytest.raises(ValueError, match=r"l2.*0"):
        ease_factors(likes, 6, l2=0.0, rank=2)
    with pytest.raises(ValueError, match=r"rank.*0"):
        ease_factors(likes, 6, l2=1.0, rank=0)
    single = Ragged.from_lengths(torch.tensor([1, 2]), torch.tensor([1, 1, 0]))
    with pytest.raises(ValueError, match="CodesFromEASE: no query likes two candidates"):
        check_ease_factors("CodesFromEASE", single, 6, 1.0)
    pairs = Ragged.from_lengths(torch.tensor([1, 2, 3, 5]), torch.tensor([1, 3]))
    monkeypatch.setattr("dssm_lightning.evaluation.baselines.ease_factors.MAX_CANDIDATES", 2)
    with pytest.raises(ValueError, match=r"3 of 6 candidates are liked together.*limit: 2"):
        check_ease_factors("CodesFromEASE", pairs, 6, 1.0)
