"""Answers that differ from each other: maximal marginal relevance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import UserError, is_number

POOL = 5
"""The k diverse answers are chosen among the 5 k best candidates."""


def diverse_places(scores: NDArray[Any], directions: NDArray[Any], k: int, diversity: float) -> NDArray[np.int64]:
    r"""Return the places (≤ k,) of diverse candidates among the best P, in the order in which they are chosen.

    Each choice is the candidate with the greatest marginal relevance:

    .. math:: (1 - \lambda) \, r_i - \lambda \max_{j\ \text{chosen}} \cos(v_i, v_j)

    for a diversity λ, embeddings v, and the scores r, scaled so that the pool's best is 1 and its worst 0: scores of a
    scorer, of a reciprocal rank fusion and of a cosine then weigh the same. The first choice is the best candidate; of
    equal candidates the one with the greater score comes first. λ = 0 keeps the order of the scores.

    Args:
        scores: (P,) descending.
        directions: (P, D) embeddings of length 1.
        k: number of choices.
        diversity: λ in [0, 1].

    Source: Carbonell and Goldstein, SIGIR 1998, doi 10.1145/290941.291025, whose λ is 1 − λ here.

    Example:
        >>> scores, directions = np.array([0.9, 0.8, 0.5]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> diverse_places(scores, directions, 2, 0.0).tolist(), diverse_places(scores, directions, 2, 0.7).tolist()
        ([0, 1], [0, 2])
    """
    relevance = scores.astype(np.float64)
    if len(relevance):
        relevance -= relevance.min()
        relevance /= relevance.max() or 1.0
    nearest = np.zeros(len(relevance))  # to nothing chosen: all candidates are equally far
    left = np.ones(len(relevance), bool)
    chosen: list[int] = []
    for _ in range(min(k, len(relevance))):
        marginal = (1 - diversity) * relevance - diversity * nearest
        place = int(np.where(left, marginal, -np.inf).argmax())
        similar = (directions @ directions[place]).astype(np.float64)
        nearest = np.maximum(nearest, similar) if chosen else similar
        left[place] = False
        chosen.append(place)
    return np.array(chosen, np.int64)


def require_diversity(value: Any) -> float:
    """Return a diversity.

    Raises:
        UserError: it is no number in [0, 1].

    Example:
        >>> require_diversity(0.3)
        0.3
    """
    if not (is_number(value) and 0 <= value <= 1):
        raise UserError(
            f"diversity is {value!r}; it must be a number in [0, 1]: 0 = by the scores alone, 1 = most diverse"
        )
    return float(value)
