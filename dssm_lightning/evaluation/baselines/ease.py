"""EASE: the linear item-to-item model, by the smaller of two matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.item_knn import NO_HISTORY
from dssm_lightning.evaluation.baselines.liked_together import LikedTogether, add_diagonal, product, sparse, transposed
from dssm_lightning.evaluation.baselines.sparse_inverse import Inverse, inverse
from dssm_lightning.utils.errors import require_positive
from dssm_lightning.utils.ragged import Ragged, take

MAX_SIDE = 20_000
"""Largest matrix that is inverted; it takes 1.6 GB in float32."""
FEW_QUERIES = 8
"""From this number of candidates for each query on, weights of all pairs of candidates cost more than they save."""


@dataclass(eq=False)
class EASE(Baseline):
    """The linear item-to-item model without self-similarity that reconstructs the training matrix best.

    min ‖X − XB‖² + l2 ‖B‖² with diag B = 0 has the closed form B = I − P / diag(P), P = (XᵀX + l2 I)⁻¹, each column
    divided by its own diagonal entry. The scores of a query with likes x are xB = x − xP / diag(P).

    Candidates and queries that say nothing of two candidates are left out of X first, which changes nothing. If X then
    has fewer queries than candidates, P comes from the inverse of a matrix of queries (Woodbury's identity): the same
    numbers at a fraction of the time.

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

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that both sides of the matrix are too large, or that no query has a history, or None."""
        if not data.has_histories:
            return NO_HISTORY
        queries, candidates = data.together.matrix.shape
        if data.together.side <= MAX_SIDE:
            return None
        return (
            f"{queries:,} queries and {candidates:,} candidates are too many for a matrix of either (limit: "
            f"{MAX_SIDE:,})"
        )

    def fit(self, data: BaselineData) -> None:
        """Invert the smaller matrix."""
        together = data.together
        self._positives, self._size = data.positives, data.num_candidates
        self._weights: Tensor | None = None
        self._rows = together.candidates
        queries, candidates = together.matrix.shape
        if queries >= candidates:
            order, found = self._inverse_by_candidate(together)
            self._weights, self._rows = _weights(found), together.candidates[order]
        else:
            self._fit_by_query(together)
            if candidates <= min(MAX_SIDE, queries * FEW_QUERIES):
                self._weights = _weights(self._inverse_of_candidates())
        self._column = torch.full((data.num_candidates,), -1)
        self._column[self._rows] = torch.arange(candidates)

    def _inverse_by_candidate(self, together: LikedTogether) -> Inverse:
        """Return P (M, M)."""
        gram = product(transposed(together.matrix), together.matrix)
        return inverse(add_diagonal(gram, together.alone + self.l2))

    def _fit_by_query(self, together: LikedTogether) -> None:
        """Keep SK of P = A⁻¹ − SKSᵀ, where A = l2 I + diag(alone), S = A⁻¹Xᵀ and K = (I + X A⁻¹ Xᵀ)⁻¹, and diag(P)."""
        index = together.matrix.indices()
        self._own = together.alone.double() + self.l2  # (M,) the diagonal of A
        queries, candidates = together.matrix.shape
        scaled = sparse(index, 1.0 / self._own[index[1]], (queries, candidates))  # Sᵀ
        gram = product(scaled, transposed(together.matrix))
        order, found = inverse(add_diagonal(gram, torch.ones(queries)))
        place = torch.empty_like(order).scatter_(0, order, torch.arange(queries))
        index = torch.stack([place[index[0]], index[1]])  # queries in the order of the inverse
        self._scaled = sparse(index, scaled.values().to(found.dtype), (queries, candidates))
        index = self._scaled.indices()
        self._reached = product(transposed(self._scaled), found)  # (M, U) SK
        self._shared = torch.zeros(len(self._own), dtype=torch.float64)  # the diagonal of SKSᵀ
        values = self._reached[index[1], index[0]] * self._scaled.values()
        self._shared.index_add_(0, index[1], values.double())

    def _inverse_of_candidates(self) -> Tensor:
        """Return P (M, M) by what is kept of the queries."""
        found = product(transposed(self._scaled), self._reached.T.contiguous()).neg_()
        found.diagonal().copy_(1.0 / self._own - self._shared)
        return found

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return the corpus rows (M,) of the candidates that are liked together, and B (M, M) of these."""
        return self._rows, _weights(self._inverse_of_candidates()) if self._weights is None else self._weights

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return scores (Q, N): the sums of the weights of the liked candidates."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        columns = self._column[liked.values.long()]
        likes = liked._replace(values=columns).only(columns >= 0)
        found = torch.zeros(len(batch.query_row), self._size)
        of_columns = self._scores_by_query(likes) if self._weights is None else _sum_rows(self._weights, likes)
        found[:, self._rows] = of_columns.float()
        return found

    def _scores_by_query(self, likes: Ragged) -> Tensor:
        """(Q, M) scores x − xP / diag(P) without weights (M, M): x are the likes."""
        index = torch.stack([likes.rows, likes.values])
        shape = (len(likes.offsets) - 1, len(self._own))
        own = sparse(index, 1.0 / self._own[likes.values], shape).to_dense()  # xA⁻¹
        back = product(transposed(self._scaled), _sum_rows(self._reached, likes).T.contiguous()).T
        diagonal = 1.0 / self._own - self._shared
        return (
            sparse(index, torch.ones(index.shape[1], dtype=torch.float64), shape).to_dense() - (own - back) / diagonal
        )


def _weights(inverse: Tensor) -> Tensor:
    """(M, M) P, which is overwritten -> (M, M) float32 −P / diag(P), with zeros on the diagonal."""
    weights = inverse.div_(-inverse.diagonal().clone())
    weights.fill_diagonal_(0.0)
    return weights.float().contiguous()  # rows are added, and an inverse may come by columns


def _sum_rows(table: Tensor, rows: Ragged) -> Tensor:
    """(·, D) table -> (B, D): for each of the B ragged rows, the sum of the table rows that it lists."""
    return F.embedding_bag(rows.values, table, rows.offsets, mode="sum", include_last_offset=True)
