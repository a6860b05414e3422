"""Beyond accuracy: what stands in the first places of all rankings together, relevant or not."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.utils.ragged import Ragged, take

LIST_CHUNK = 1 << 24
"""Scores of queries whose lists are made at a time: their copy takes 64 MiB."""


class Recommended(Metric):
    """How the corpus is used by everybody's best k candidates, without what they have seen.

    - ``coverage@k``: the share of the corpus that stands in anybody's first k;
    - ``popularity@k``: the mean number of training positives of what stands there;
    - ``gini@k``: the Gini coefficient of how often each candidate of the corpus stands there, 0 = all alike.

    Every query that is ranked counts, also one without a relevant candidate; by event, each event. The state is a
    count for each cut and candidate: exact under any number of ranks.

    Args:
        ks: cuts.
        popularity: (N,) training positives of each candidate.
    """

    full_state_update = False

    counts: Tensor

    def __init__(self, ks: list[int], popularity: Tensor) -> None:
        super().__init__()
        self.ks, self._popularity = ks, popularity.double()
        self._at_once = max(1, LIST_CHUNK // max(1, len(popularity)))
        counts = torch.zeros(len(ks), len(popularity), dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, scores: Tensor, seen: Ragged) -> None:
        """Adds the lists of a batch.

        Args:
            scores: (Q, N) finite scores of the whole corpus.
            seen: Q rows of corpus rows that are not recommended again.
        """
        if not len(scores) or not self.ks:
            return
        every = torch.arange(len(scores), device=scores.device)
        lists = [_unseen(scores[rows], take(seen, rows), max(self.ks)) for rows in torch.split(every, self._at_once)]
        best, listed = (torch.cat(parts) for parts in zip(*lists, strict=True))  # (Q, max k) both
        found = [torch.bincount(best[:, :k][listed[:, :k]], minlength=scores.shape[1]) for k in self.ks]
        self.counts = self.counts + torch.stack(found)  # not in place, as in RankMetric.update

    def compute(self) -> dict[str, Tensor]:
        """The three values for each cut, () float64; NaN as long as nothing was recommended."""
        counts = self.counts.double()  # (len(ks), N)
        total = counts.sum(1)
        values = {
            "coverage": torch.where(total > 0, (counts > 0).double().mean(1), torch.nan),
            "popularity": counts @ self._popularity.to(counts.device) / total,
            "gini": gini(counts),
        }
        return {f"{name}@{k}": value[i] for name, value in values.items() for i, k in enumerate(self.ks)}


def _unseen(scores: Tensor, seen: Ragged, k: int) -> tuple[Tensor, Tensor]:
    """(Q, k) the best columns that are not seen, and (Q, k) whether they are: who has seen nearly all has fewer.

    ``scores`` (Q, N) are overwritten.
    """
    scores[seen.rows, seen.values.long()] = -torch.inf
    best = top_k_stable(scores, k)
    return best, scores.gather(1, best) > -torch.inf


def top_k_stable(scores: Tensor, k: int) -> Tensor:
    """(Q, N) -> (Q, k) columns of the k highest scores, best first; of equal scores the lower column comes first.

    ``torch.topk`` picks any of equal scores at the cut, and not the same on every machine.
    """
    limit = scores.topk(k, dim=1).values[:, -1:]  # (Q, 1)
    above, tied = scores > limit, scores == limit
    room = k - above.sum(1, keepdim=True)
    cut = tied.sum(1, keepdim=True) > room
    if bool(cut.any()):
        rows = cut.squeeze(1)
        tied[rows] &= tied[rows].cumsum(1) <= room[rows]
    columns = (above | tied).nonzero()[:, 1].view(len(scores), k)  # ascending
    order = scores.gather(1, columns).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)


def gini(counts: Tensor) -> Tensor:
    """(…, N) -> (…,) Gini coefficients Σ_i (2 i − N − 1) x_i / (N Σ x) of counts x_1 ≤ … ≤ x_N.

    Half the mean absolute difference of two of them, divided by their mean: 0 where all are equal, 1 − 1 / N where one
    has everything.
    """
    N = counts.shape[-1]
    weight = 2 * torch.arange(1, N + 1, dtype=counts.dtype, device=counts.device) - N - 1
    return (counts.sort(dim=-1).values * weight).sum(-1) / (N * counts.sum(-1))
