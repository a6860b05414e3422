"""Which columns may count for which query: all of target, own negatives and known positives as one boolean matrix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.utils.ragged import Ragged


def valid_columns(target: Tensor, negatives: Tensor | None, known: Ragged | None, ids: Tensor) -> Tensor:
    """(Q, C) bool: True at the target, and at the columns that may count as a query's negatives.

    Args:
        target: (Q,) column of each query's own candidate.
        negatives: (Q, n) the only columns that count as each query's negatives, -1 for none; None = every column does.
        known: corpus rows that each query is known to like, never its negatives.
        ids: (C,) corpus rows of the columns, strictly ascending.
    """
    shape = (len(target), len(ids))
    if negatives is None and known is None:
        return torch.ones((), dtype=torch.bool, device=ids.device).expand(shape)  # `Scores.all_valid` knows it by this
    if negatives is None:
        valid = torch.ones(shape, dtype=torch.bool, device=ids.device)
    else:
        valid = torch.zeros((shape[0], shape[1] + 1), dtype=torch.bool, device=ids.device)
        valid = valid.scatter_(1, negatives % (shape[1] + 1), True)[:, :-1]  # -1 falls into a column that is cut off
    if known is not None:
        valid[known_pairs(known, ids)] = False
    return valid.scatter_(1, target[:, None], True)


def known_pairs(known: Ragged, ids: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) row and (n,) column of each known positive that has one.

    Args:
        known: corpus rows that each query is known to like.
        ids: (C,) corpus rows of the columns, strictly ascending.
    """
    column = torch.searchsorted(ids, known.values).clamp_(max=len(ids) - 1)  # (T,)
    here = ids[column] == known.values
    return known.rows[here], column[here]


def own_columns(target: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """(Q, 1 + n) each query's target and own negatives, and (Q, 1 + n) bool: what stands there for the first time.

    Args:
        target: (Q,) column of each query's own candidate.
        negatives: (Q, n) columns of each query's negatives, -1 for none, which becomes the target once more.
    """
    own = target[:, None]
    columns = torch.cat([own, torch.where(negatives < 0, own, negatives)], 1)
    ascending, place = columns.sort(dim=1, stable=True)  # the first of equals stays first
    new = F.pad(ascending[:, 1:] != ascending[:, :-1], (1, 0), value=True)
    return columns, torch.zeros_like(new).scatter_(1, place, new)
