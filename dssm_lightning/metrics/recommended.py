"""Beyond accuracy: what stands in the first places of all rankings together, relevant or not."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.batch import Ragged


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
        unseen = scores.clone()
        unseen[seen.rows, seen.values.long()] = -torch.inf
        best = first(unseen, max(self.ks))
        listed = unseen.gather(1, best) > -torch.inf  # who has seen nearly all has a shorter list
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


def first(scores: Tensor, k: int) -> Tensor:
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
