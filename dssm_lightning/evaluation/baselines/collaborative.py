"""Baselines of the interactions alone: popularity, item-kNN and EASE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import group
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_at_least, require_positive
from dssm_lightning.utils.ragged import Ragged, take

MAX_CANDIDATES = 20_000
"""Largest corpus of a method with a number for each pair of candidates (3.2 GB in EASE, which inverts them)."""
DENSE_CHUNK = 1 << 25
"""Entries of the query × candidate matrix that are dense at the same time."""


@dataclass(eq=False)
class PopularityBaseline(Baseline):
    """Rank candidates by the number of queries that like them in training: the same ranking for every query.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0, 2]), torch.tensor([2, 2]))  # of two queries
        >>> baseline = PopularityBaseline()
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3))
        >>> baseline._counts.tolist()
        [2.0, 1.0, 1.0]
    """

    def __str__(self) -> str:
        """Return its name in tables and files."""
        return "Popularity()"

    def fit(self, data: BaselineData) -> None:
        """Count the training positives of each candidate."""
        self._counts = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N), a view of one row."""
        return self._counts.expand(len(batch.query_row), -1)


class ItemToItem(Baseline):
    """Score candidates by the query's training positives times a matrix (N, N) of weights between candidates."""

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that the corpus is too large for N² numbers, or that no query has a training positive."""
        if data.num_candidates > MAX_CANDIDATES:
            return f"it holds a number for each pair of {data.num_candidates:,} candidates (limit: {MAX_CANDIDATES:,})"
        lengths = data.positives.lengths if data.evaluated is None else data.positives.lengths[data.evaluated]
        return None if bool((lengths > 0).any()) else "no query that is ranked has a training positive"

    def fit(self, data: BaselineData) -> None:
        """Compute the weights from the number of queries that like two candidates together."""
        self._positives = data.positives
        self._weights = self._item_weights(co_occurrences(data.positives, data.num_candidates))

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N): sums of the weights of the query's training positives."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        return _sum_rows(self._weights, liked)

    def _item_weights(self, together: Tensor) -> Tensor:
        """(N, N) co-occurrences, which may be overwritten -> (N, N) float32: the weight of a liked row i for each j."""
        raise NotImplementedError


@dataclass(eq=False)
class ItemKNN(ItemToItem):
    """Cosine between the columns of the query × candidate matrix, for the nearest neighbours of each candidate.

    The weight of i for j is G_ij / (√G_ii √G_jj + shrink), G counting the queries that liked both, if i is among the
    ``neighbours`` nearest of j, and 0 otherwise. Source: Sarwar et al. 2001; the shrink term: Bell and Koren 2007.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0, 2]), torch.tensor([2, 2]))  # of two queries
        >>> baseline = ItemKNN(shrink=0.0)
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3))
        >>> baseline._weights[0].tolist()
        [0.0, 0.7071067690849304, 0.7071067690849304]
    """

    neighbours: int = 100
    """How many neighbours of each candidate count; more if several tie with the last."""
    shrink: float = 10.0
    """Reduces a similarity that few queries support; 0 is the plain cosine."""

    def __post_init__(self) -> None:
        require_at_least("ItemKNN", "neighbours", self.neighbours)
        require_at_least("ItemKNN", "shrink", self.shrink, 0)

    def _item_weights(self, together: Tensor) -> Tensor:
        norms = together.diagonal().sqrt()
        similarity = together / (norms[:, None] * norms + self.shrink).clamp(min=1e-12)
        similarity.fill_diagonal_(0.0)
        last = similarity.topk(min(self.neighbours, len(similarity)), dim=0).values[-1]  # (N,) of the last neighbour
        return torch.where(similarity >= last, similarity, 0.0)


@dataclass(eq=False)
class EASE(ItemToItem):
    """The linear item-to-item model without self-similarity that best reconstructs the training matrix.

    min ‖X − XB‖² + l2 ‖B‖² with diag B = 0 has the closed form B = I − P / diag(P), P = (XᵀX + l2 I)⁻¹, each column
    divided by its own diagonal entry. Source: Steck 2019 (arXiv 1905.03375).

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0, 2]), torch.tensor([2, 2]))  # of two queries
        >>> baseline = EASE(l2=1.0)
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3))
        >>> baseline._weights.diagonal().tolist()
        [0.0, 0.0, 0.0]
    """

    l2: float = 300.0
    """Weight of the penalty, in the unit of the counts in XᵀX."""

    def __post_init__(self) -> None:
        require_positive("EASE", "l2", self.l2, hint="without a penalty there may be no inverse")

    def _item_weights(self, together: Tensor) -> Tensor:
        penalised = together.double()
        penalised.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(penalised))
        weights = -inverse / inverse.diagonal()
        weights.fill_diagonal_(0.0)
        return weights.float()


def co_occurrences(positives: Ragged, num_candidates: int) -> Tensor:
    """Return (N, N) float32: how many queries like both candidates; exact below 2^24."""
    queries = group(positives.values.long(), positives.rows, num_candidates)  # by candidate
    together = torch.empty(num_candidates, num_candidates)
    num_queries = len(positives.offsets) - 1
    step = max(1, DENSE_CHUNK // max(1, num_queries))
    for start in range(0, num_candidates, step):
        stop = min(start + step, num_candidates)
        part = slice(int(queries.offsets[start]), int(queries.offsets[stop]))
        columns = torch.zeros(num_queries, stop - start)  # of the query × candidate matrix
        columns[queries.values[part], queries.rows[part] - start] = 1.0
        together[:, start:stop] = _sum_rows(columns, queries)
    return together


def _sum_rows(table: Tensor, rows: Ragged) -> Tensor:
    """Return (B, D): for each row of ``rows`` the sum of the named rows of the table (·, D)."""
    return F.embedding_bag(rows.values.long(), table, rows.offsets, mode="sum", include_last_offset=True)
