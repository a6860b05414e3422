"""Who liked what in training, as a sparse matrix without the rows and columns that join no two candidates."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils.ragged import Ragged


class LikedTogether(NamedTuple):
    """The queries that like at least two candidates, and the candidates that these queries like.

    Only these say anything of two candidates: a query with one like adds to the candidate's own count alone.

    Example:
        >>> positives = Ragged.from_lengths(torch.tensor([3, 1, 3]), torch.tensor([2, 1]))
        >>> together = liked_together(positives, num_candidates=5)
        >>> together.matrix.to_dense().tolist(), together.candidates.tolist(), together.alone.tolist()
        ([[1.0, 1.0]], [1, 3], [0, 1])
    """

    matrix: Tensor  # (U, M) sparse float64: 1 where a query likes a candidate
    candidates: Tensor  # (M,) int64, ascending: the corpus rows of its columns
    alone: Tensor  # (M,) int64: further likes of each candidate, by queries that like nothing else

    @property
    def side(self) -> int:
        """The smaller of both numbers, of queries and of candidates."""
        return min(self.matrix.shape)


def liked_together(positives: Ragged, num_candidates: int) -> LikedTogether:
    """Return the matrix of the queries that like at least two candidates.

    Args:
        positives: for each query the distinct corpus rows that it likes.
        num_candidates: size of the corpus.
    """
    several = positives.lengths > 1  # (queries,)
    rows, values = positives.rows, positives.values.long()
    kept = several[rows]
    candidates, column = torch.unique(values[kept], return_inverse=True)
    query = (several.cumsum(0) - 1)[rows[kept]]
    alone = torch.bincount(values[~kept], minlength=num_candidates)[candidates]
    shape = (int(several.sum()), len(candidates))
    matrix = sparse(torch.stack([query, column]), torch.ones(len(query), dtype=torch.float64), shape)
    return LikedTogether(matrix, candidates, alone)


def sparse(index: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a sparse matrix of distinct entries.

    Args:
        index: (2, E) rows and columns.
        values: (E,).
        shape: of the matrix.
    """
    return torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce()


def product(a: Tensor, b: Tensor) -> Tensor:
    """(m, n) sparse, (n, k) sparse or dense -> (m, k), as the second."""
    with warnings.catch_warnings():  # torch computes in a format that it calls beta, and says so once
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        found: Tensor = torch.sparse.mm(a, b)
        return found.coalesce() if found.is_sparse else found


def transposed(matrix: Tensor) -> Tensor:
    """(m, n) sparse -> (n, m) sparse."""
    return matrix.t().coalesce()


def add_diagonal(matrix: Tensor, values: Tensor) -> Tensor:
    """(n, n) sparse, (n,) -> (n, n) sparse: the matrix with more on its diagonal."""
    each = torch.arange(len(values))
    return (matrix + sparse(torch.stack([each, each]), values.to(matrix.dtype), (len(values), len(values)))).coalesce()
