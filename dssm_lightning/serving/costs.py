"""How long a batch will take, from those before it."""

from __future__ import annotations

KEPT = 0.95
"""What a batch counts after the next one: about the last twenty are remembered."""


class Costs:
    """Seconds of a batch as a fixed part and a part for each item, fitted to the latest batches.

    Example:
        >>> costs = Costs()
        >>> costs.estimate(1) is None
        True
        >>> for size, seconds in ((1, 0.3), (2, 0.4), (4, 0.6)):
        ...     costs.add(size, seconds)
        >>> round(costs.estimate(8), 6), costs.fitting(1.0)
        (1.0, 8)
    """

    def __init__(self) -> None:
        self._weight = self._size = self._seconds = self._squares = self._products = 0.0
        self._fixed = self._each = 0.0

    def add(self, size: int, seconds: float) -> None:
        """Learn from a batch of some items that took some seconds."""
        self._weight = self._weight * KEPT + 1
        self._size = self._size * KEPT + size
        self._seconds = self._seconds * KEPT + seconds
        self._squares = self._squares * KEPT + size * size
        self._products = self._products * KEPT + size * seconds
        size_mean, seconds_mean = self._size / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - size_mean**2
        together = self._products / self._weight - size_mean * seconds_mean
        each = together / spread if spread > 1e-3 * size_mean**2 else seconds_mean / size_mean
        self._each = min(max(each, 0.0), seconds_mean / size_mean)  # neither part is negative
        self._fixed = seconds_mean - self._each * size_mean

    def estimate(self, size: int) -> float | None:
        """Return the expected seconds of a batch; None: there was none yet."""
        return self._fixed + self._each * size if self._weight else None

    def fitting(self, seconds: float) -> int:
        """Return how many items take at most some seconds; 0 if one takes longer, or nothing is known."""
        if not self._weight or self._fixed + self._each > seconds:
            return 0
        return 1 << 30 if self._each <= 0 else int((seconds - self._fixed) / self._each * (1 + 1e-9))
