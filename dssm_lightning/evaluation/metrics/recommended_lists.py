"""Metrics of the recommended lists of all queries together, relevant or not."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.utils.ragged import Ragged, take

LIST_CHUNK = 1 << 24
"""Scores of the queries whose lists are made at a time: their copy takes 64 MiB."""


class Recommended(Metric):
    """How the queries' lists, the k best candidates that a query has not seen, use the corpus.

    - ``coverage@k``: the share of the corpus that is in at least one list;
    - ``popularity@k``: the mean number of training positives of the listed candidates;
    - ``gini@k``: the Gini coefficient of how often each candidate of the corpus is listed, 0 = equally often.

    Every ranked query counts, even without a relevant candidate; by event, every event. The state is a count for each
    cut-off and candidate: exact under any number of processes.

    Args:
        ks: cut-offs.
        popularity: (N,) training positives of each candidate.

    Example:
        >>> recommended = Recommended([1], popularity=torch.tensor([9, 4, 0, 0]))
        >>> seen = Ragged.from_lengths(torch.tensor([0]), torch.tensor([0, 1]))  # candidate 0, by the second query
        >>> recommended.update(torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]), seen)
        >>> {name: value.item() for name, value in recommended.compute().items()}
        {'coverage@1': 0.5, 'popularity@1': 6.5, 'gini@1': 0.5}
    """

    full_state_update = False

    counts: Tensor

    def __init__(self, ks: list[int], popularity: Tensor) -> None:
        super().__init__()
        self.ks, self._popularity = ks, popularity.double()
        self._query_chunk = max(1, LIST_CHUNK // max(1, len(popularity)))
        counts = torch.zeros(len(ks), len(popularity), dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, scores: Tensor, seen: Ragged) -> None:
        """Add the lists of a batch.

        Args:
            scores: (Q, N) finite scores of the whole corpus.
            seen: Q rows of corpus rows, which are not recommended again.
        """
        if not len(scores) or not self.ks:
            return
        every = torch.arange(len(scores), device=scores.device)
        lists = [
            _unseen(scores[rows], take(seen, rows), max(self.ks)) for rows in torch.split(every, self._query_chunk)
        ]
        best, is_unseen = (torch.cat(chunks) for chunks in zip(*lists, strict=True))  # (Q, max k) both
        found = [torch.bincount(best[:, :k][is_unseen[:, :k]], minlength=scores.shape[1]) for k in self.ks]
        self.counts = self.counts + torch.stack(found)  # not in place, as in RankMetric.update

    def compute(self) -> dict[str, Tensor]:
        """Return the three values for each cut-off, () float64; NaN if nothing was recommended."""
        counts = self.counts.double()  # (len(ks), N)
        total = counts.sum(1)
        values = {
            "coverage": torch.where(total > 0, (counts > 0).double().mean(1), torch.nan),
            "popularity": counts @ self._popularity.to(counts.device) / total,
            "gini": gini(counts),
        }
        return {f"{name}@{k}": value[i] for name, value in values.items() for i, k in enumerate(self.ks)}


def _unseen(scores: Tensor, seen: Ragged, k: int) -> tuple[Tensor, Tensor]:
    """Return (Q, k) the best columns, unseen first, and (Q, k) whether each is unseen. Overwrites ``scores`` (Q, N)."""
    scores[seen.rows, seen.values.long()] = -torch.inf
    best = top_k_stable(scores, k)
    return best, scores.gather(1, best) > -torch.inf


def top_k_stable(scores: Tensor, k: int) -> Tensor:
    """Return the columns of the k highest scores, best first: (Q, N) -> (Q, k). Equal scores: the lower column first.

    ``torch.topk`` takes any of the equal scores at place k, and different ones on different machines.

    Example:
        >>> top_k_stable(torch.tensor([[1.0, 2.0, 1.0, 1.0]]), k=3).tolist()
        [[1, 0, 2]]
    """
    limit = scores.topk(k, dim=1).values[:, -1:]  # (Q, 1)
    above, tied = scores > limit, scores == limit
    room = k - above.sum(1, keepdim=True)
    too_many = tied.sum(1, keepdim=True) > room
    if bool(too_many.any()):
        rows = too_many.squeeze(1)
        tied[rows] &= tied[rows].cumsum(1) <= room[rows]
    columns = (above | tied).nonzero()[:, 1].view(len(scores), k)  # ascending
    order = scores.gather(1, columns).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)


def gini(counts: Tensor) -> Tensor:
    """Return Gini coefficients Σ_i (2 i − N − 1) x_i / (N Σ x) of counts x_1 ≤ … ≤ x_N: (…, N) -> (…,).

    A Gini coefficient is half the mean absolute difference of two counts, divided by their mean: 0 if all are equal,
    1 − 1 / N if one candidate has everything.

    Example:
        >>> gini(torch.tensor([[3.0, 3.0], [0.0, 6.0]])).tolist()
        [0.0, 0.5]
    """
    N = counts.shape[-1]
    weight = 2 * torch.arange(1, N + 1, dtype=counts.dtype, device=counts.device) - N - 1
    return (counts.sort(dim=-1).values * weight).sum(-1) / (N * counts.sum(-1))
