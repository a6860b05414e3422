"""The inverse of a sparse symmetric matrix: rows that do not meet are eliminated first, and the rest is dense."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.evaluation.baselines.liked_together import LikedTogether, add_diagonal, product, sparse, transposed

MAX_EXACT_SIDE = 4_000
"""Largest dense matrix that is inverted in float64, which takes twice the time and the memory."""
SMALL_SIDE = 1_024
"""A matrix up to this size is inverted at once: that takes milliseconds."""
DENSE = 0.25
"""A matrix with a greater share of entries is inverted at once."""
FEWEST = 1 / 16
"""The least share of rows that are worth a round."""
SWEEPS = 32
"""Passes over the entries in the search for rows that do not meet; a few suffice."""


class Round(NamedTuple):
    """What one round of the elimination leaves behind: rows of which no two have a common entry."""

    rows: Tensor  # (c,) int64, of the whole matrix
    diagonal: Tensor  # (c,) float64, theirs
    scaled: Tensor  # (2, E) int64: a place in `rows`, and a row of the whole matrix that stays
    values: Tensor  # (E,) float64: the entry divided by the diagonal


class Elimination(NamedTuple):
    """The rounds, and the matrix that they leave.

    Example:
        >>> from dssm_lightning.evaluation.baselines.liked_together import sparse
        >>> leaf, hub = torch.arange(1, 12), torch.zeros(11, dtype=torch.int64)
        >>> edges = torch.stack([torch.cat([leaf, hub]), torch.cat([hub, leaf])])
        >>> star = add_diagonal(sparse(edges, torch.ones(22).double(), (12, 12)), torch.full((12,), 4.0))
        >>> found = eliminate(star, small=1)
        >>> found.rounds[0].rows.tolist() == leaf.tolist(), found.kept.tolist(), found.rest.to_dense().tolist()
        (True, [0], [[1.25]])
    """

    rounds: list[Round]
    kept: Tensor  # (k,) int64: rows of the whole matrix
    rest: Tensor  # (k, k) sparse float64, the Schur complement of what was eliminated


class Inverse(NamedTuple):
    """A dense inverse, with its rows and columns in an order of its own."""

    order: Tensor  # (n,) int64: the row of the matrix that each row stands for
    values: Tensor  # (n, n)


def inverse(matrix: Tensor) -> Inverse:
    """Return the inverse of a sparse symmetric positive matrix (n, n).

    A row that meets few others costs little if it is eliminated before them: with A diagonal,

        [[A, B], [Bᵀ, C]]⁻¹ = [[A⁻¹ + S K Sᵀ, −S K], [−K Sᵀ, K]],   S = A⁻¹B,   K = (C − Bᵀ S)⁻¹.

    C − Bᵀ S is sparse again as long as few rows are joined by it, so that this is repeated. The dense inverse, which
    takes the cube of its size, is that of the rows that are left. Of a matrix with many entries nothing is eliminated.

    Args:
        matrix: (n, n) coalesced, float64.

    Returns:
        float64 up to :data:`MAX_EXACT_SIDE` rows, float32 beyond. In the order of the matrix if nothing is eliminated.

    Source: Saad, ILUM, SIAM Journal on Scientific Computing 17 (1996), 830–847, eliminates such sets too; here exact.

    Example:
        >>> from dssm_lightning.evaluation.baselines.liked_together import sparse
        >>> each = torch.arange(2)
        >>> inverse(sparse(torch.stack([each, each]), torch.tensor([4.0, 16.0]).double(), (2, 2))).values.diagonal()
        tensor([0.2500, 0.0625], dtype=torch.float64)
    """
    found = eliminate(matrix, SMALL_SIDE)
    dense = dense_inverse(found.rest.to_dense())
    return Inverse(found.kept, dense) if not found.rounds else _expanded(found, dense, len(matrix))


def dense_side(together: LikedTogether) -> int:
    """Return the side of the dense matrix that EASE inverts: the smaller side, less what is eliminated before.

    Example:
        >>> from dssm_lightning.evaluation.baselines.liked_together import liked_together
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> dense_side(liked_together(Ragged.from_lengths(torch.tensor([0, 1, 0]), torch.tensor([2, 1])), 2))
        1
    """
    wide = together.matrix if together.matrix.shape[1] == together.side else transposed(together.matrix)
    pairs = torch.bincount(wide.indices()[0]).square().sum()
    if pairs > DENSE * together.side**2:  # to count the entries takes as long as the fit, and there are many
        return together.side
    return len(eliminate(add_diagonal(product(transposed(wide), wide), torch.ones(together.side)), SMALL_SIDE).kept)


def dense_inverse(matrix: Tensor) -> Tensor:
    """(n, n) symmetric and positive -> its inverse, in float32 if it is large."""
    exact = len(matrix) <= MAX_EXACT_SIDE
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix if exact else matrix.float()))


def eliminate(matrix: Tensor, small: int) -> Elimination:
    """Eliminate rows that do not meet, round by round, while that pays.

    Args:
        matrix: (n, n) sparse, symmetric, positive, coalesced, float64.
        small: a matrix of this size is left as it is.
    """
    kept, rounds = torch.arange(len(matrix)), list[Round]()
    while len(kept) > small and matrix._nnz() <= DENSE * len(kept) ** 2:
        chosen = independent_rows(matrix)
        if int(chosen.sum()) < FEWEST * len(kept):
            break
        cut, stays = chosen.nonzero().squeeze(1), (~chosen).nonzero().squeeze(1)
        diagonal = _diagonal(matrix)[cut]
        across = matrix.index_select(0, cut).index_select(1, stays).coalesce()  # B
        index = across.indices()
        scaled = sparse(index, across.values() / diagonal[index[0]], (len(cut), len(stays)))  # S
        left = matrix.index_select(0, stays).index_select(1, stays)
        matrix = (left - product(transposed(across), scaled)).coalesce()
        named = torch.stack([index[0], kept[stays][index[1]]])
        rounds.append(Round(kept[cut], diagonal, named, scaled.values()))
        kept = kept[stays]
    return Elimination(rounds, kept, matrix)


def independent_rows(matrix: Tensor) -> Tensor:
    """Return (n,) bool: rows of which no two have a common entry, those that meet few others first.

    A row is chosen if it meets fewer than all of its neighbours that are still free (Luby 1986, doi 10.1137/0215074,
    with degrees in place of random numbers). Which rows these are does not depend on the values.

    Args:
        matrix: (n, n) sparse, symmetric, coalesced.
    """
    row, column = matrix.indices()
    other = row != column
    row, column = row[other], column[other]
    size = len(matrix)
    last = torch.iinfo(torch.int64).max
    order = torch.bincount(row, minlength=size) * size + torch.arange(size)  # distinct
    free, chosen = torch.ones(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for _ in range(SWEEPS):
        waiting = torch.where(free, order, last)
        least = torch.full_like(order, last).scatter_reduce_(0, row, waiting[column], "amin")
        new = free & (order < least)
        chosen |= new
        free &= ~new
        free[column[new[row]]] = False
        if not bool(free.any()):
            break
        both = free[row] & free[column]
        row, column = row[both], column[both]
    return chosen


def _diagonal(matrix: Tensor) -> Tensor:
    row, column = matrix.indices()
    own = row == column
    return torch.zeros(len(matrix), dtype=matrix.dtype).index_put_((row[own],), matrix.values()[own])


def _expanded(found: Elimination, dense: Tensor, size: int) -> Inverse:
    """Return the whole inverse: what is left stands first, then the rounds from the last to the first."""
    kind = torch.float64 if size <= MAX_EXACT_SIDE else torch.float32
    order = torch.cat([found.kept, *(each.rows for each in reversed(found.rounds))])
    place = torch.empty_like(order)
    place[order] = torch.arange(size)
    whole = torch.empty(size, size, dtype=kind)
    start = len(found.kept)
    whole[:start, :start] = dense
    for each in reversed(found.rounds):
        stop = start + len(each.rows)
        index = torch.stack([each.scaled[0], place[each.scaled[1]]])
        scaled = sparse(index, each.values.to(kind), (len(each.rows), start))  # S
        across = product(scaled, whole[:start, :start].contiguous()).neg_()  # −S K
        whole[start:stop, :start], whole[:start, start:stop] = across, across.T
        own = product(scaled, across.T.contiguous()).neg_()  # S K Sᵀ
        own.diagonal().add_(1.0 / each.diagonal)
        whole[start:stop, start:stop] = own
        start = stop
    return Inverse(order, whole)
