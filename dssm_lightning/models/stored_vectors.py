"""Candidates' embeddings as an int8 index stores them, with a gradient that skips the rounding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError

_GREATEST = 127.0


def round_to_int8(vectors: Tensor) -> Tensor:
    r"""Return vectors (…, D) as int8 codes with one scale for each vector hold them, in float32.

    .. math:: s = \max_d |x_d| / 127, \quad q(x)_d = s \cdot \mathrm{round}(x_d / s)

    Equal, to the last bit, to what :class:`~dssm_lightning.retrieval.indexes.row_stores.Int8Rows` reads. The gradient
    is that of the identity (the straight-through estimator: Bengio et al., arXiv 1308.3432).

    Args:
        vectors: (…, D) float32.

    Example:
        >>> vectors = torch.tensor([[0.5, -1.0]], requires_grad=True)
        >>> rounded = round_to_int8(vectors)
        >>> rounded.sum().backward()
        >>> (rounded * 127).tolist(), vectors.grad.tolist()
        ([[64.0, -127.0]], [[1.0, 1.0]])
    """
    greatest = vectors.detach().abs().amax(-1, keepdim=True)
    scale = torch.where(greatest > 0, greatest, torch.ones_like(greatest))
    scale = scale / torch.full_like(scale, _GREATEST)  # CUDA would multiply by the reciprocal of a plain number
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)
    rounded = (vectors.detach() / scale).round().clamp(-_GREATEST, _GREATEST) * scale
    return rounded + (vectors - vectors.detach()) if torch.is_grad_enabled() else rounded


def as_stored(embedding: Tensor, vectors: Literal["int8", "binary"] | None, scorer: Scorer) -> Tensor:
    """Return candidates' embeddings (C, D) as an index of this precision stores them.

    ``binary`` stores the same int8 codes as ``int8``: the index compares bits first, and scores the best with int8.

    A scorer that needs several indexes (``MultiHeadDot`` with ``reduce: max``) has one scale for each of a candidate's
    vectors.

    Args:
        embedding: (C, D) with ``bypass`` features, constant and bias, which an index stores as well.
        vectors: the option of :class:`~dssm_lightning.models.tower.Tower`; None = the embeddings are not changed.
        scorer: compares the embeddings.

    Example:
        >>> from dssm_lightning.models.scorers import MultiHeadDot
        >>> embedding = torch.tensor([[0.5, -1.0, 0.05, 0.1]])
        >>> (as_stored(embedding, "int8", MultiHeadDot(2, "max")) * torch.tensor([127, 127, 1270, 1270])).round()
        tensor([[  64., -127.,   64.,  127.]])
    """
    if vectors is None:
        return embedding
    rows, width = embedding.shape
    indexes = scorer.vectors(embedding[:1]).shape[0]
    return round_to_int8(embedding.reshape(rows, indexes, width // indexes)).reshape(rows, width)


def check_vectors(towers: dict[str, Tower], scorer: Scorer) -> None:
    """Refuse stored vectors of queries, and of a scorer that no index serves.

    Args:
        towers: both towers by side; the same one where it encodes both sides.
        scorer: compares their embeddings.

    Raises:
        UserError: the query tower alone has ``vectors``; the scorer is not ``indexable``.
    """
    query, candidate = towers["query"], towers["candidate"]
    if query is not candidate and query.vectors is not None:
        raise UserError(
            f"query tower: vectors is {query.vectors!r}, but an index stores the candidates and reads queries as "
            "float32; set it in the candidate tower"
        )
    if candidate.vectors is not None and not scorer.indexable:
        raise UserError(
            f"candidate tower: vectors is {candidate.vectors!r}, but {type(scorer).__name__} does not rank by inner "
            "products, so that no index stores its candidates; use Dot, or leave it out"
        )
