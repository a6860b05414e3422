"""The candidates with the greatest inner products, exactly, for many queries at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.utils.errors import UserError

_GROUP = 32  # rows of the corpus whose greatest score stands for them
_ROWS, _QUERIES = 8192, 64  # scored at once: 2 MiB, which stay in the cache until they are read again


def exact_top_k(query: Tensor, corpus: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(Q, D), (N, D) -> (Q, k) the greatest inner products, descending, and (Q, k) int64 the rows that they are of.

    Scores (Q, N) are never whole. Of each 32 rows only the greatest score is kept; the k best are all in the k groups
    whose greatest are best, and these are scored again. On a CPU this outruns FAISS' ``IndexFlatIP``
    (docs/benchmarks.md). Which of equal scores are taken at the end of the k is not defined.

    Raises:
        ValueError: k is not in 1 … N.
    """
    if not 1 <= k <= len(corpus):
        raise UserError(f"k = {k}: the corpus has {len(corpus):,} candidates, ask for 1 to {len(corpus):,}")
    if len(corpus) // _GROUP <= k:
        return _sorted(query @ corpus.T, k)
    found = [_of_groups(part, corpus, k) for part in torch.split(query, _QUERIES)]
    values, rows = map(torch.cat, zip(*found, strict=True))
    return values, rows


def _of_groups(query: Tensor, corpus: Tensor, k: int) -> tuple[Tensor, Tensor]:
    groups = len(corpus) // _GROUP
    best = _group_maxima(query, corpus[: groups * _GROUP]).topk(k, sorted=False).indices  # (Q, k)
    rows = (best[:, :, None] * _GROUP + torch.arange(_GROUP, device=best.device)).flatten(1)  # (Q, k · 32)
    rest = torch.arange(groups * _GROUP, len(corpus), device=best.device)  # fewer than a group
    rows = torch.cat([rows, rest.expand(len(query), -1)], 1)
    own = corpus.index_select(0, rows.flatten()).view(*rows.shape, -1)  # (Q, k · 32, D)
    values, place = _sorted((own @ query[:, :, None]).squeeze(-1), k)
    return values, rows.gather(1, place)


def _group_maxima(query: Tensor, corpus: Tensor) -> Tensor:
    """(Q, N / 32)."""
    tiles = torch.split(corpus, _ROWS)
    return torch.cat([(query @ tile.T).reshape(len(query), -1, _GROUP).amax(-1) for tile in tiles], 1)


def _sorted(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = scores.topk(k)
    return best.values, best.indices
