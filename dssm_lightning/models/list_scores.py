"""The scores of each query with the candidates of its own list, and with no others."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.models.scorers import Scorer
from dssm_lightning.utils.ragged import Ragged

STEP = 8
"""Rows and columns are padded to a multiple of this: kernels round the rest of a block differently, which would make
equal candidates differ."""


def score_lists(scorer: Scorer, query: Tensor, corpus: Tensor, listed: Ragged) -> Tensor:
    """Return the logits of each query with the candidates of its own list, in the order of the list.

    Only listed pairs are scored, and only the embeddings of listed candidates are read.

    Args:
        scorer: embeddings of both sides -> logits.
        query: (Q or more, D) embeddings; rows beyond those of ``listed`` are padding.
        corpus: (N, D) embeddings.
        listed: Q rows of corpus rows, one or more in each.

    Returns:
        (Q or more, L) logits, L the length of the longest list; −inf beyond the end of a list.

    Example:
        >>> from dssm_lightning.models.scorers import Dot
        >>> listed = Ragged.from_lengths(torch.tensor([0, 2, 1]), torch.tensor([2, 1]))
        >>> corpus = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
        >>> score_lists(Dot(), torch.tensor([[1.0, 2.0], [5.0, 6.0]]), corpus, listed)
        tensor([[1., 9.],
                [6., -inf]])
    """
    longest = listed.longest
    if not len(listed.values):
        return query.new_zeros(len(query), longest, dtype=torch.float32)
    rows, number = torch.unique(listed.values.long(), return_inverse=True)
    place = torch.arange(len(number), device=number.device) - listed.of_rows(listed.offsets[:-1])
    columns = number.new_zeros(len(query), _padded(longest))
    columns[listed.rows, place] = number
    embedded = corpus[rows[torch.arange(_padded(len(rows)), device=rows.device).clamp(max=len(rows) - 1)]]
    inside = torch.zeros(len(query), longest, dtype=torch.bool, device=query.device)
    inside[listed.rows, place] = True
    return scorer.pairs(query, embedded, columns)[:, :longest].masked_fill(~inside, -torch.inf)


def _padded(length: int) -> int:
    return -(-length // STEP) * STEP
