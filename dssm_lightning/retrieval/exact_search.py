"""Exact top-k search: the rows of a corpus with the greatest inner products, for many queries at once."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.utils.errors import UserError, is_whole

_GROUP = 32  # rows of the corpus; the first pass keeps only the greatest score of each group
_ROWS, _QUERIES = 8192, 64  # scored at once: 2 MiB of scores, which stay in the CPU's cache until they are read again


def exact_top_k(query: Tensor, corpus: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(Q, D), (N, D) -> (Q, k) the greatest inner products, descending, and (Q, k) int64 their corpus rows.

    The matrix of scores (Q, N) is never held in memory. A first pass keeps only the greatest score of each group of 32
    rows. The k best rows all lie in the k groups with the greatest of these scores, and a second pass scores the rows
    of these groups again. On a CPU this is faster than FAISS' ``IndexFlatIP`` (docs/benchmarks.md). If scores are
    equal at the end of the k, the choice among their rows is not defined.

    Raises:
        UserError: k is not a whole number in 1 … N.

    Example:
        >>> corpus = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> values, rows = exact_top_k(torch.tensor([[0.0, 2.0]]), corpus, k=2)
        >>> rows.tolist()
        [[1, 2]]
    """
    require_whole_k(k)
    if not 1 <= k <= len(corpus):
        raise UserError(f"k is {k}; the corpus has {len(corpus):,} candidates: choose a k from 1 to {len(corpus):,}")
    if len(corpus) // _GROUP <= k:
        return _sorted_top_k(query @ corpus.T, k)
    found = [_search_groups(chunk, corpus, k) for chunk in torch.split(query, _QUERIES)]
    values, rows = map(torch.cat, zip(*found, strict=True))
    return values, rows


def require_whole_k(k: int) -> None:
    """Refuse a number of answers that is no whole number, such as True, 2.0 or "2"."""
    if not is_whole(k):
        raise UserError(f"k is {k!r}; it must be a whole number, at least 1")


def _search_groups(query: Tensor, corpus: Tensor, k: int) -> tuple[Tensor, Tensor]:
    groups = len(corpus) // _GROUP
    best = _group_maxima(query, corpus[: groups * _GROUP]).topk(k, sorted=False).indices  # (Q, k)
    rows = (best[:, :, None] * _GROUP + torch.arange(_GROUP, device=best.device)).flatten(1)  # (Q, k · 32)
    rest = torch.arange(groups * _GROUP, len(corpus), device=best.device)  # the rows after the last whole group
    rows = torch.cat([rows, rest.expand(len(query), -1)], 1)
    own = corpus.index_select(0, rows.flatten()).view(*rows.shape, -1)  # (Q, k · 32 + rest, D)
    values, place = _sorted_top_k((own @ query[:, :, None]).squeeze(-1), k)
    return values, rows.gather(1, place)


def _group_maxima(query: Tensor, corpus: Tensor) -> Tensor:
    """(Q, D), (N, D) with N a multiple of 32 -> (Q, N / 32)."""
    tiles = torch.split(corpus, _ROWS)
    return torch.cat([(query @ tile.T).reshape(len(query), -1, _GROUP).amax(-1) for tile in tiles], 1)


def _sorted_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = scores.topk(k)
    return best.values, best.indices
