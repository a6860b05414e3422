"""The baseline of nearest neighbours among candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.liked_together import LikedTogether, product, sparse, transposed
from dssm_lightning.utils.errors import require_at_least, require_whole
from dssm_lightning.utils.ragged import Ragged, take

MAX_PAIRS = 20_000_000_000
"""Largest number of pairs of likes of one query, over all queries: each is added once."""
PAIRS_AT_ONCE = 1 << 26
"""Pairs that are added before their neighbours are chosen: about a gigabyte."""
NO_HISTORY = "no ranked query has a training positive"


@dataclass(eq=False)
class ItemKNN(Baseline):
    """Cosine between the columns of the query × candidate matrix, for the nearest neighbours of each candidate.

    The weight of i for j is G_ij / (√G_ii √G_jj + shrink) if i is among the nearest ``neighbours`` of j, and 0
    otherwise. G_ij is the number of queries that liked both. All products are sparse, so that the size of the corpus
    does not matter, only how often two candidates are liked together.

    Source: Sarwar et al. 2001; the shrink term is from Bell and Koren 2007.

    Raises:
        UserError: no neighbour, or a negative shrink.

    Example:
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> baseline = ItemKNN(neighbours=1, shrink=0.0)
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=2))
        >>> scores = baseline.scores(EvaluationBatch({}, torch.tensor([1]), positives, positives, shown=None))
        >>> [round(score, 3) for score in scores[0].tolist()]
        [0.0, 0.707]
    """

    neighbours: int = 100
    """Number of neighbours of each candidate that count; if several are as near as the last, all of them count."""
    shrink: float = 10.0
    """Reduces a similarity that few queries support; 0 = the plain cosine."""

    def __post_init__(self) -> None:
        require_whole("ItemKNN", "neighbours", self.neighbours)
        require_at_least("ItemKNN", "shrink", self.shrink, 0)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that there are too many pairs, or that no query has a history, or None."""
        if not data.has_histories:
            return NO_HISTORY
        pairs = int(data.positives.lengths.square().sum())
        return None if pairs <= MAX_PAIRS else f"{pairs:,} pairs of likes are too many (limit: {MAX_PAIRS:,})"

    def fit(self, data: BaselineData) -> None:
        """Find the nearest neighbours of each candidate."""
        together, self._size = data.together, data.num_candidates
        self._positives = data.positives
        liked = torch.bincount(data.positives.values.long(), minlength=data.num_candidates)[together.candidates]
        parts = [self._neighbours_of(columns, together, liked.float().sqrt()) for columns in _ranges(together)]
        index, weights = (torch.cat(each, dim=-1) for each in zip(*parts, strict=True))
        self._weights = sparse(together.candidates[index], weights.double(), (self._size, self._size))

    def _neighbours_of(self, columns: range, together: LikedTogether, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Return (2, E) pairs of a neighbour and a candidate of these columns, and (E,) their weights."""
        chosen = together.matrix.index_select(1, torch.arange(columns.start, columns.stop)).coalesce()
        counts = product(transposed(together.matrix), chosen)  # (M, C) queries that like both
        (row, column), count = counts.indices(), counts.values().float()
        other = row != column + columns.start
        row, column, count = row[other], column[other], count[other]
        weights = count / (norms[row] * norms[column + columns.start] + self.shrink).clamp(min=1e-12)
        order = weights.argsort(descending=True, stable=True)
        order = order[column[order].argsort(stable=True)]
        row, column, weights = row[order], column[order], weights[order]
        lengths = torch.bincount(column, minlength=len(columns))
        last = lengths.cumsum(0) - lengths + self.neighbours - 1  # where each column's last neighbour stands
        least = torch.zeros(len(columns))
        least[lengths >= self.neighbours] = weights[last[lengths >= self.neighbours]]
        kept = weights >= least[column]
        return torch.stack([row[kept], column[kept] + columns.start]), weights[kept]

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): the sums of the weights of the liked candidates."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        index, shape = torch.stack([liked.rows, liked.values.long()]), (len(batch.query_row), self._size)
        ones = torch.ones(index.shape[1], dtype=torch.float64)
        return product(sparse(index, ones, shape), self._weights).to_dense().float()


def _ranges(together: LikedTogether) -> list[range]:
    """Return ranges of columns, each of about as many pairs as are added at once; at least one, which may be empty."""
    query, column = together.matrix.indices()
    likes = torch.bincount(query, minlength=together.matrix.shape[0])
    pairs = torch.bincount(column, likes[query].double(), minlength=len(together.candidates)).cumsum(0)
    bounds = range(PAIRS_AT_ONCE, int(pairs[-1]) if len(pairs) else 0, PAIRS_AT_ONCE)
    cuts = sorted({0, *torch.searchsorted(pairs, torch.tensor(bounds, dtype=torch.float64)).tolist(), len(pairs)})
    return [range(start, stop) for start, stop in pairwise(cuts)] or [range(0)]
