"""Baselines that read only the training positives: popularity, item-kNN and EASE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import group
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_at_least, require_positive, require_whole
from dssm_lightning.utils.ragged import Ragged, take

MAX_CANDIDATES = 20_000
"""Largest corpus of a baseline with a weight for each pair of candidates (EASE then inverts a matrix of 3.2 GB)."""
DENSE_CHUNK = 1 << 25
"""Largest number of entries of the query × candidate matrix that are dense at a time."""


@dataclass(eq=False)
class PopularityBaseline(Baseline):
    """The number of queries that liked a candidate in training: the same ranking for every query.

    Example:
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> baseline = PopularityBaseline()
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=3))
        >>> baseline.scores(EvaluationBatch({}, torch.tensor([1]), positives, positives, shown=None)).tolist()
        [[2.0, 1.0, 0.0]]
    """

    def __str__(self) -> str:
        """Return the name in tables and files."""
        return "Popularity()"

    def fit(self, data: BaselineData) -> None:
        """Count the queries that like each candidate."""
        self._counts = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): one row, expanded without a copy."""
        return self._counts.expand(len(batch.query_row), -1)


class ItemToItem(Baseline):
    """Base of baselines whose scores are the query's training positives times candidate weights (N, N)."""

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that the corpus is too large for N² weights, or that no query has a history, or None."""
        if data.num_candidates > MAX_CANDIDATES:
            return (
                f"a weight for each pair of {data.num_candidates:,} candidates is too much (limit: {MAX_CANDIDATES:,})"
            )
        lengths = data.positives.lengths if data.evaluated is None else data.positives.lengths[data.evaluated]
        return None if bool((lengths > 0).any()) else "no ranked query has a training positive"

    def fit(self, data: BaselineData) -> None:
        """Learn the weights from the number of queries that like both candidates of each pair."""
        self._positives = data.positives
        self._weights = self._item_weights(co_occurrences(data.positives, data.num_candidates))

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): the sums of the weights of the liked candidates."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        return _sum_rows(self._weights, liked)

    def _item_weights(self, together: Tensor) -> Tensor:
        """(N, N) co-occurrences, which may be overwritten -> (N, N) float32: row i is added for a liked candidate i."""
        raise NotImplementedError


@dataclass(eq=False)
class ItemKNN(ItemToItem):
    """Cosine between the columns of the query × candidate matrix, for the nearest neighbours of each candidate.

    The weight of i for j is G_ij / (√G_ii √G_jj + shrink) if i is among the nearest ``neighbours`` of j, and 0
    otherwise. G_ij is the number of queries that liked both.

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

    def _item_weights(self, together: Tensor) -> Tensor:
        norms = together.diagonal().sqrt()
        similarity = together / (norms[:, None] * norms + self.shrink).clamp(min=1e-12)
        similarity.fill_diagonal_(0.0)
        last = similarity.topk(min(self.neighbours, len(similarity)), dim=0).values[-1]  # (N,) of the last that counts
        return torch.where(similarity >= last, similarity, 0.0)


@dataclass(eq=False)
class EASE(ItemToItem):
    """The linear item-to-item model without self-similarity that reconstructs the training matrix best.

    min ‖X − XB‖² + l2 ‖B‖² with diag B = 0 has the closed form B = I − P / diag(P), P = (XᵀX + l2 I)⁻¹, each column
    divided by its own diagonal entry.

    Source: Steck 2019 (arXiv 1905.03375).

    Raises:
        UserError: a penalty that is not positive and finite.

    Example:
        >>> positives = Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1]))
        >>> baseline = EASE(l2=1.0)
        >>> baseline.fit(BaselineData(positives=positives, num_candidates=2))
        >>> scores = baseline.scores(EvaluationBatch({}, torch.tensor([1]), positives, positives, shown=None))
        >>> [round(score, 3) for score in scores[0].tolist()]
        [0.0, 0.333]
    """

    l2: float = 300.0
    """Weight of the penalty, in the unit of XᵀX: a number of queries."""

    def __post_init__(self) -> None:
        require_positive("EASE", "l2", self.l2, "XᵀX alone may have no inverse")

    def _item_weights(self, together: Tensor) -> Tensor:
        penalised = together.double()
        penalised.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(penalised))
        weights = -inverse / inverse.diagonal()
        weights.fill_diagonal_(0.0)
        return weights.float()


def co_occurrences(positives: Ragged, num_candidates: int) -> Tensor:
    """Return (N, N) float32: the number of queries that like both candidates; exact below 2^24."""
    queries = group(positives.values.long(), positives.rows, num_candidates)  # of each candidate
    together = torch.empty(num_candidates, num_candidates)
    num_queries = len(positives.offsets) - 1
    step = max(1, DENSE_CHUNK // max(1, num_queries))
    for start in range(0, num_candidates, step):
        stop = min(start + step, num_candidates)
        chunk = slice(int(queries.offsets[start]), int(queries.offsets[stop]))
        columns = torch.zeros(num_queries, stop - start)  # of the query × candidate matrix
        columns[queries.values[chunk], queries.rows[chunk] - start] = 1.0
        together[:, start:stop] = _sum_rows(columns, queries)
    return together


def _sum_rows(table: Tensor, rows: Ragged) -> Tensor:
    """(·, D) table -> (B, D): for each of the B ragged rows, the sum of the table rows that it lists."""
    return F.embedding_bag(rows.values.long(), table, rows.offsets, mode="sum", include_last_offset=True)
