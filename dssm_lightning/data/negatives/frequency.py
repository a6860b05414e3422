"""How often a training row's own candidate is each candidate of the corpus: the p in log_q = log(B·p + n·q)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import buckets


class Frequency:
    """Corpus rows (C,) -> the probability that a training row owns each."""

    streams: ClassVar[bool] = False
    """Whether it learns from the batches, which must then be held before it, and be committed once trained on."""

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Begin anew.

        Args:
            owned: (R,) the corpus row that each training row owns, in whatever order.
            num_candidates: N, rows of the corpus.
        """
        raise NotImplementedError

    def __call__(self, ids: Tensor) -> Tensor:
        """(C,) float64 probabilities."""
        raise NotImplementedError

    def hold(self, owned: Tensor) -> None:
        """Keep what the rows of a batch, of all ranks, own until :meth:`commit`."""

    def commit(self) -> None:
        """Learn from what is held, if anything is."""

    def state_dict(self) -> dict[str, Any]:
        """What was learnt on the way, for the checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it, bound already."""


class CountedFrequency(Frequency):
    """Counted in the training rows."""

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Counts."""
        self._frequency = torch.bincount(owned, minlength=num_candidates).double() / len(owned)  # (N,)

    def __call__(self, ids: Tensor) -> Tensor:
        """(C,) the share of rows."""
        return self._frequency.index_select(0, ids)


class StreamingFrequency(Frequency):
    r"""Estimated from the batches as they pass, by the mean number of rows between two that own the same candidate.

    With Δ rows since a candidate's last occurrence its interval :math:`\delta` follows
    :math:`\delta \leftarrow (1 - \alpha) \delta + \alpha \Delta`, and its frequency is 1 / δ. Unlike a count it
    forgets: where rows come in order of time, it follows what is popular *now*. Where they are shuffled, the default
    count is exact, and this is a noisy estimate of it.

    It differs from the paper in three things. The unit is rows, not steps, so that batch size and ranks do not matter;
    a candidate that c rows of a batch own counts as c intervals of Δ / c. The rate of a candidate's first 1 / α
    occurrences is 1 / their number, their plain mean, in place of a start at 0. And a candidate never seen is taken
    for as rare as one of all rows so far.

    All ranks see the rows of the whole batch. The arrays are state, and lie in the checkpoint.

    Args:
        alpha: how fast the mean moves, in (0, 1]; the estimate's relative error is about √(α / 2).
        num_buckets: places that candidates are hashed into; those that share one seem as frequent as all together.
            None = a place for each candidate.

    Source: Yi et al., RecSys 2019, doi 10.1145/3298689.3346996, algorithm 2.

    Raises:
        ValueError: alpha outside (0, 1], or fewer than one bucket.
    """

    streams: ClassVar[bool] = True

    def __init__(self, alpha: float = 0.01, num_buckets: int | None = None) -> None:
        if not 0 < alpha <= 1:
            raise UserError(f"StreamingFrequency: alpha is {alpha}; it must be above 0 and at most 1")
        if num_buckets is not None and num_buckets < 1:
            raise UserError(f"StreamingFrequency: num_buckets is {num_buckets}; it must be at least 1")
        self.alpha, self.num_buckets = alpha, num_buckets

    def bind(self, owned: Tensor, num_candidates: int) -> None:
        """Forget all."""
        size = num_candidates if self.num_buckets is None else self.num_buckets
        self._rows = 0  # that passed
        self._last = torch.zeros(size, dtype=torch.int64)  # the row of the last occurrence: the paper's A
        self._interval = torch.zeros(size, dtype=torch.float64)  # the mean between two: the paper's B
        self._seen = torch.zeros(size, dtype=torch.int64)  # occurrences
        self._held: Tensor | None = None

    def _bucket(self, ids: Tensor) -> Tensor:
        if self.num_buckets is None:
            return ids
        return torch.from_numpy(buckets(ids.numpy().astype(np.uint64), self.num_buckets)).long()

    def __call__(self, ids: Tensor) -> Tensor:
        """(C,) 1 / interval."""
        bucket = self._bucket(ids)
        never = torch.tensor(max(self._rows, 1), dtype=torch.float64)
        return 1 / torch.where(self._seen[bucket] > 0, self._interval[bucket], never)

    def hold(self, owned: Tensor) -> None:
        """Keep what the rows of a batch, of all ranks, own."""
        self._held = owned

    def commit(self) -> None:
        """Learn from it; a second time does nothing."""
        if self._held is None:
            return
        bucket, count = torch.unique(self._bucket(self._held), return_counts=True)
        self._rows += len(self._held)
        self._seen[bucket] += count
        step = torch.maximum(1 - (1 - self.alpha) ** count.double(), count / self._seen[bucket].double())
        interval = (self._rows - self._last[bucket]) / count.double()
        self._interval[bucket] += step * (interval - self._interval[bucket])
        self._last[bucket] = self._rows
        self._held = None

    def state_dict(self) -> dict[str, Any]:
        """Its arrays."""
        return {"rows": self._rows, "last": self._last, "interval": self._interval, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them.

        Raises:
            ValueError: they are of another size.
        """
        if not state:
            return
        if len(state["last"]) != len(self._last):
            raise UserError(
                f"StreamingFrequency: the checkpoint has {len(state['last'])} places, here are {len(self._last)}; "
                "the corpus or num_buckets was another"
            )
        self._rows = state["rows"]
        self._last, self._interval, self._seen = state["last"], state["interval"], state["seen"]
