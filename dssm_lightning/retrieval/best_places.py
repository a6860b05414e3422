"""The greatest of some scores, in an order that ties do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best_places(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the places (≤ k,) of the greatest scores (n,), descending; of equal scores the lower place comes first.

    Example:
        >>> best_places(np.array([1.0, 3.0, 2.0, 3.0]), 3).tolist()
        [1, 3, 2]
    """
    if k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    else:
        kept = np.arange(len(scores))
    best: NDArray[np.int64] = kept[np.argsort(-scores[kept], kind="stable")[:k]]
    return best
