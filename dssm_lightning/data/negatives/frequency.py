"""The probability that a training row owns each candidate of the corpus: the p in log_q = log(B·p + n·q)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.utils.errors import UserError, is_number, require_whole
from dssm_lightning.utils.hashing import buckets


class Frequency:
    """Estimate the probability that a training row owns each corpus row: (C,) corpus rows -> (C,) probabilities.

    Example:
        >>> class Equal(Frequency):
        ...     def bind(self, owned, num_candidates):
        ...         self.size = num_candidates
        ...
        ...     def __call__(self, ids):
        ...         return torch.full((len(ids),), 1 / self.size, dtype=torch.float64)
        >>> frequency = Equal()
        >>> frequency.bind(torch.tensor([3, 0, 3]), num_candidates=4)
        >>> frequency(torch.tensor([2, 3])).tolist()
        [0.25, 0.25]
    """

    streams: ClassVar[bool] = False
    """Whether the estimate learns from batches: call :meth:`hold` with each batch, :meth:`commit` after the step."""

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Start a new estimate.

        Args:
            owned: (R,) the corpus row that each training row owns, in any order.
            num_candidates: N, number of rows of the corpus.
        """
        raise NotImplementedError

    def __call__(self, ids: Tensor) -> Tensor:
        """Return the probabilities (C,) float64."""
        raise NotImplementedError

    def hold(self, owned: Tensor) -> None:
        """Keep the corpus rows that a batch's rows own, in all processes together, until :meth:`commit`."""

    def commit(self) -> None:
        """Learn from the batch that is held, if there is one."""

    def state_dict(self) -> dict[str, Any]:
        """Return learned state for the checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore state; call :meth:`bind` first."""


class CountedFrequency(Frequency):
    """Count the training rows of each candidate.

    Example:
        >>> frequency = CountedFrequency()
        >>> frequency.bind(torch.tensor([3, 0, 3, 1]), num_candidates=5)
        >>> frequency(torch.tensor([0, 3, 4])).tolist()
        [0.25, 0.5, 0.0]
    """

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Count."""
        self._frequency = torch.bincount(owned, minlength=num_candidates).double() / len(owned)  # (N,)

    def __call__(self, ids: Tensor) -> Tensor:
        """Return the fraction of training rows that own each candidate, (C,) float64."""
        return self._frequency.index_select(0, ids)


class StreamingFrequency(Frequency):
    r"""Estimate the frequency from the batches, by the mean number of rows between two rows with the same candidate.

    If Δ rows have passed since a candidate's last occurrence, its interval is updated by
    :math:`\delta \leftarrow (1 - \alpha) \delta + \alpha \Delta`, and its frequency is 1 / δ. Unlike a count, the
    estimate forgets: if rows come in the order of time, it follows the current popularity. If rows are shuffled, the
    default count is exact, and this estimate is noisier.

    There are three differences from the paper. Intervals are measured in rows, not in steps, so that batch size and
    number of processes do not matter; a candidate that c rows of a batch own counts as c intervals of Δ / c. During a
    candidate's first 1 / α occurrences the rate is 1 / (number of occurrences), which gives their mean; the paper
    starts at 0. A candidate that was never seen gets the frequency of one occurrence in all rows so far.

    All processes see the rows of the global batch. The arrays are saved in the checkpoint.

    Args:
        alpha: rate of the moving mean, in (0, 1]; the relative error of the estimate is about √(α / 2).
        num_buckets: number of hash buckets of candidates; candidates in the same bucket share the sum of their
            frequencies. None = one bucket for each candidate.

    Source: Yi et al., RecSys 2019, doi 10.1145/3298689.3346996, algorithm 2.

    Raises:
        UserError: alpha outside (0, 1], or fewer than one bucket.

    Example:
        >>> frequency = StreamingFrequency()
        >>> frequency.bind(torch.tensor([0, 0, 1, 0]), num_candidates=3)
        >>> frequency.hold(torch.tensor([0, 0, 1, 0]))
        >>> frequency.commit()
        >>> frequency(torch.tensor([0, 1, 2])).round(decimals=2).tolist()
        [0.75, 0.25, 0.25]
    """

    streams: ClassVar[bool] = True

    def __init__(self, alpha: float = 0.01, num_buckets: int | None = None) -> None:
        if not (is_number(alpha) and 0 < alpha <= 1):
            raise UserError(f"StreamingFrequency: alpha is {alpha}; it must be above 0 and at most 1")
        require_whole("StreamingFrequency", "num_buckets", num_buckets)
        self.alpha, self.num_buckets = alpha, num_buckets

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Start without any observation."""
        size = num_candidates if self.num_buckets is None else self.num_buckets
        self._rows = 0  # rows seen so far
        self._last = torch.zeros(size, dtype=torch.int64)  # row number of the last occurrence: A in the paper
        self._interval = torch.zeros(size, dtype=torch.float64)  # mean interval between occurrences: B in the paper
        self._seen = torch.zeros(size, dtype=torch.int64)  # number of occurrences
        self._held: Tensor | None = None

    def _bucket(self, ids: Tensor) -> Tensor:
        if self.num_buckets is None:
            return ids
        return torch.from_numpy(buckets(ids.numpy().astype(np.uint64), self.num_buckets)).long()

    def __call__(self, ids: Tensor) -> Tensor:
        """Return 1 / interval, (C,) float64."""
        bucket = self._bucket(ids)
        never_seen = torch.tensor(max(self._rows, 1), dtype=torch.float64)
        return 1 / torch.where(self._seen[bucket] > 0, self._interval[bucket], never_seen)

    def hold(self, owned: Tensor) -> None:
        """Keep the corpus rows that a batch's rows own, in place of the batch that was held before."""
        self._held = owned

    def commit(self) -> None:
        """Learn from the batch that is held; a second call does nothing."""
        if self._held is None:
            return
        bucket, count = torch.unique(self._bucket(self._held), return_counts=True)
        self._rows += len(self._held)
        self._seen[bucket] += count
        rate = torch.maximum(1 - (1 - self.alpha) ** count.double(), count / self._seen[bucket].double())
        interval = (self._rows - self._last[bucket]) / count.double()
        self._interval[bucket] += rate * (interval - self._interval[bucket])
        self._last[bucket] = self._rows
        self._held = None

    def state_dict(self) -> dict[str, Any]:
        """Return the arrays."""
        return {"rows": self._rows, "last": self._last, "interval": self._interval, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the arrays.

        Raises:
            UserError: the arrays have another size.
        """
        if not state:
            return
        if len(state["last"]) != len(self._last):
            raise UserError(
                f"StreamingFrequency: the checkpoint has {len(state['last'])} buckets, but this run has "
                f"{len(self._last)}; continue with the checkpoint's corpus and num_buckets"
            )
        self._rows = state["rows"]
        self._last, self._interval, self._seen = state["last"], state["interval"], state["seen"]
        self._held = None
