"""EASE's matrix as a product of two narrow ones, so that a dot product adds its scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.evaluation.baselines.base import BaselineData
from dssm_lightning.evaluation.baselines.ease import EASE
from dssm_lightning.utils.errors import UserError, require_at_least, require_positive
from dssm_lightning.utils.ragged import Ragged

MAX_CANDIDATES = 20_000
"""Most candidates that are liked together; their matrix takes 1.6 GB."""
MORE_DIRECTIONS, ITERATIONS = 32, 4
"""Directions beyond the rank and power iterations of the randomised decomposition."""


class EASEFactors(NamedTuple):
    """Two vectors for each candidate. Those of a candidate that is never liked together with another are zeros."""

    liked: Tensor  # (N, r) float32, to be summed over the liked candidates of a query
    candidate: Tensor  # (N, r) float32, of the candidate that is scored


def check_ease_factors(owner: str, positives: Ragged, num_candidates: int, l2: float) -> None:
    """Refuse a setting, or likes that have no matrix or a matrix that is too large, before anything is computed.

    Raises:
        UserError: a penalty that is not positive; no two candidates that one query likes; too many candidates.
    """
    require_positive(owner, "l2", l2, "XᵀX alone may have no inverse")
    if not (positives.lengths > 1).any():
        raise UserError(f"{owner}: no query likes two candidates in training, so EASE's matrix is empty")
    liked = len(torch.unique(positives.values[positives.of_rows(positives.lengths) > 1]))
    if liked > MAX_CANDIDATES:
        raise UserError(
            f"{owner}: {liked:,} of {num_candidates:,} candidates are liked together with others; their matrix is too "
            f"large (limit: {MAX_CANDIDATES:,} candidates)"
        )


def ease_factors(positives: Ragged, num_candidates: int, l2: float, rank: int) -> EASEFactors:
    r"""Return U and V with B ≈ U Vᵀ for the matrix B of :class:`~dssm_lightning.evaluation.baselines.EASE`.

    With the r largest singular values s of B = L diag(s) Rᵀ, U = L √s and V = R √s: the best matrix of rank r in
    squared error (Eckart and Young 1936), found by a randomised decomposition (Halko et al. 2009, arXiv 0909.4061).

    B has a zero diagonal, and U Vᵀ of a narrow rank has not. That counts only where a query's likes contain the
    candidate itself: never for the target of a history, which leaves it out, nor where seen candidates are masked.

    Args:
        positives: for each query the distinct corpus rows that it likes in training.
        num_candidates: size N of the corpus.
        l2: EASE's penalty.
        rank: width r. Columns beyond the number of candidates in B are zeros.

    Source: Steck 2019 (arXiv 1905.03375).

    Raises:
        UserError: as for :func:`check_ease_factors`; a rank below 1.

    Example:
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> factors = ease_factors(positives, num_candidates=2, l2=1.0, rank=2)
        >>> [[round(abs(weight), 3) for weight in row] for row in (factors.liked @ factors.candidate.T).tolist()]
        [[0.0, 0.333], [0.5, 0.0]]
    """
    require_at_least("ease_factors", "rank", rank)
    check_ease_factors("ease_factors", positives, num_candidates, l2)
    ease = EASE(l2=l2)
    ease.fit(BaselineData(positives=positives, num_candidates=num_candidates))
    rows, weights = ease.weights()
    left, values, right = _decomposed(weights, rank)
    found = EASEFactors(torch.zeros(num_candidates, rank), torch.zeros(num_candidates, rank))
    found.liked[rows, : len(values)] = left * values.sqrt()
    found.candidate[rows, : len(values)] = right * values.sqrt()
    return found


def _decomposed(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """(M, M) -> left vectors (M, k), the k = min(rank, M) largest singular values, and right vectors (M, k)."""
    width = min(rank + MORE_DIRECTIONS, len(matrix))
    with torch.random.fork_rng(devices=[]):  # the random numbers of the run stay as they are
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(matrix, q=width, niter=ITERATIONS)
    return left[:, :rank], values[:rank], right[:, :rank]
