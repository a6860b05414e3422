"""Baselines that know who liked what, and nothing else: popularity, item-kNN and EASE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import group
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take

MAX_CANDIDATES = 20_000
"""Largest corpus of a model that holds a number for each pair of candidates (EASE inverts 3.2 GB of them)."""
DENSE_CHUNK = 1 << 25
"""Numbers of the query × candidate matrix that are spelt out at a time."""


@dataclass(eq=False)
class PopularityBaseline(Baseline):
    """The number of queries that liked a candidate in training: the same ranking for everybody."""

    def __str__(self) -> str:
        """Its name in tables and files."""
        return "Popularity()"

    def fit(self, data: BaselineData) -> None:
        """Counts."""
        self._counts = torch.bincount(data.positives.values.long(), minlength=data.num_candidates).float()

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N), one row seen Q times."""
        return self._counts.expand(len(batch.query_row), -1)


class ItemToItem(Baseline):
    """Scores are the query's training positives times a matrix (N, N) of weights between candidates."""

    def obstacle(self, data: BaselineData) -> str | None:
        """A corpus too large for N² numbers, or queries without history."""
        if data.num_candidates > MAX_CANDIDATES:
            return f"it holds a number for each pair of {data.num_candidates:,} candidates (limit: {MAX_CANDIDATES:,})"
        lengths = data.positives.lengths if data.evaluated is None else data.positives.lengths[data.evaluated]
        return None if bool((lengths > 0).any()) else "no query that is ranked has a training positive"

    def fit(self, data: BaselineData) -> None:
        """Learns the weights from how often two candidates are liked together."""
        self._positives = data.positives
        self._weights = self._item_weights(co_occurrences(data.positives, data.num_candidates))

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N): sums of the weights of what the query liked."""
        liked = take(self._positives, batch.query_row.cpu())
        assert isinstance(liked, Ragged), "positives are ragged"
        return _sum_rows(self._weights, liked)

    def _item_weights(self, together: Tensor) -> Tensor:
        """(N, N) co-occurrences, which may be overwritten -> (N, N) float32: row i is what liking i says of each j."""
        raise NotImplementedError


@dataclass(eq=False)
class ItemKNN(ItemToItem):
    """Cosine between the columns of the query × candidate matrix, for the nearest neighbours of each candidate.

    The weight of i for j is G_ij / (√G_ii √G_jj + shrink), G counting the queries that liked both, if i is among the
    ``neighbours`` nearest of j, and 0 otherwise. Source: Sarwar et al. 2001; the shrink term is that of Bell and
    Koren 2007.
    """

    neighbours: int = 100
    """How many neighbours of each candidate count; more where several are as near as the last."""
    shrink: float = 10.0
    """Makes a similarity that few queries support smaller; 0 is the plain cosine."""

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.shrink < 0:
            raise UserError(f"{self}: neighbours must be at least 1, and shrink not negative")

    def _item_weights(self, together: Tensor) -> Tensor:
        norms = together.diagonal().sqrt()
        similarity = together / (norms[:, None] * norms + self.shrink).clamp(min=1e-12)
        similarity.fill_diagonal_(0.0)
        last = similarity.topk(min(self.neighbours, len(similarity)), dim=0).values[-1]  # (N,) the farthest that counts
        return torch.where(similarity >= last, similarity, 0.0)


@dataclass(eq=False)
class EASE(ItemToItem):
    """The linear item-to-item model without self-similarity that reconstructs the training matrix best.

    min ‖X − XB‖² + l2 ‖B‖² with diag B = 0 has the closed form B = I − P / diag(P), P = (XᵀX + l2 I)⁻¹, each column
    divided by its own diagonal entry. Source: Steck 2019 (arXiv 1905.03375).
    """

    l2: float = 300.0
    """Weight of the penalty, in the units of the counts of XᵀX."""

    def __post_init__(self) -> None:
        if self.l2 <= 0:
            raise UserError(f"EASE: l2 = {self.l2}; it must be positive, or there is nothing to invert")

    def _item_weights(self, together: Tensor) -> Tensor:
        penalised = together.double()
        penalised.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(penalised))
        weights = -inverse / inverse.diagonal()
        weights.fill_diagonal_(0.0)
        return weights.float()


def co_occurrences(positives: Ragged, num_candidates: int) -> Tensor:
    """(N, N) float32: how many queries liked both candidates; exact below 2^24."""
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
    """(·, D) table -> (B, D): for each row of ``rows`` the sum of the table's rows that it names."""
    return F.embedding_bag(rows.values.long(), table, rows.offsets, mode="sum", include_last_offset=True)
