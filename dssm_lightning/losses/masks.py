"""Boolean masks of the columns that count for each query, from targets, own negatives and known positives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


def valid_columns(target: Tensor, negatives: Tensor | None, known: Ragged | None, ids: Tensor) -> Tensor:
    """(Q, C) bool: True at each query's target and at the columns that count as its negatives.

    Args:
        target: (Q,) column of each query's own candidate.
        negatives: (Q, n) the only columns that count as each query's negatives, -1 = no column; None = all columns.
        known: corpus rows of each query's known positives, which never count as its negatives.
        ids: (C,) corpus rows of the columns, strictly ascending.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> known = Ragged.from_lengths(torch.tensor([30]), torch.tensor([1, 0]))  # of query 0
        >>> valid_columns(torch.tensor([0, 1]), None, known, ids=torch.tensor([10, 20, 30])).tolist()
        [[True, True, False], [True, True, True]]
    """
    shape = (len(target), len(ids))
    if negatives is None and known is None:  # the expanded value is the sign for `Scores.all_valid`
        return torch.ones((), dtype=torch.bool, device=ids.device).expand(shape)
    if negatives is None:
        valid = torch.ones(shape, dtype=torch.bool, device=ids.device)
    else:
        valid = torch.zeros((shape[0], shape[1] + 1), dtype=torch.bool, device=ids.device)
        valid = valid.scatter_(1, negatives % (shape[1] + 1), True)[:, :-1]  # -1 writes into the last column, cut off
    if known is not None:
        valid[known_pairs(known, ids)] = False
    return valid.scatter_(1, target[:, None], True)


def liked_columns(target: Tensor, negatives: Tensor | None, known: Ragged | None, ids: Tensor) -> Tensor:
    """(Q, C) bool: True at each query's target and at its known positives; arguments as for :func:`valid_columns`.

    Raises:
        UserError: the queries have negatives of their own, so that they do not share the columns.

    Example:
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> known = Ragged.from_lengths(torch.tensor([30]), torch.tensor([1, 0]))  # of query 0
        >>> liked_columns(torch.tensor([0, 1]), None, known, ids=torch.tensor([10, 20, 30])).tolist()
        [[True, False, True], [False, True, False]]
    """
    if negatives is not None:
        raise UserError(
            "model.loss learns from all likes of a query in the columns that queries share, and data.negatives gives "
            "each row its own; draw shared ones, as Uniform does"
        )
    liked = torch.zeros((len(target), len(ids)), dtype=torch.bool, device=ids.device)
    if known is not None:
        liked[known_pairs(known, ids)] = True
    return liked.scatter_(1, target[:, None], True)


def known_pairs(known: Ragged, ids: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) row and (n,) column of each known positive that is among the columns.

    Args:
        known: corpus rows of each query's known positives.
        ids: (C,) corpus rows of the columns, strictly ascending.
    """
    column = torch.searchsorted(ids, known.values).clamp_(max=len(ids) - 1)  # (T,)
    found = ids[column] == known.values
    return known.rows[found], column[found]


def own_columns(target: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, 1 + n) each query's target and own negatives, and (Q, 1 + n) bool: True at the first of equal columns.

    Args:
        target: (Q,) column of each query's own candidate.
        negatives: (Q, n) columns of each query's negatives; -1 = no column, which the target replaces.
    """
    own = target[:, None]
    columns = torch.cat([own, torch.where(negatives < 0, own, negatives)], 1)
    ascending, place = columns.sort(dim=1, stable=True)  # stable: the first of equals stays first
    new = F.pad(ascending[:, 1:] != ascending[:, :-1], (1, 0), value=True)
    return columns, torch.zeros_like(new).scatter_(1, place, new)
