"""The multi-head dot product: an embedding is several heads, and each head has its own dot product."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.models.scorers.dot import Dot
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice

Reduce = Literal["mean", "max"]


class MultiHeadDot(Dot):
    """Mean or maximum of H dot products: head h of the query with head h of the candidate.

    An embedding (B, H·d) is H concatenated heads. ``Tower(num_heads=H)`` scales each head to length 1, so that each
    product is a cosine. With one head, the scorer equals ``Dot``.

    - ``"mean"``: Σ_h q_h · c_h / H, a dot product of the whole embeddings. The only difference to ``Dot`` is that all
      heads have the same length, so that no head outweighs the others.
    - ``"max"``: max_h q_h · c_h. A query can have several interests, each near other candidates, and a candidate's
      logit comes from its nearest interest. An index holds H vectors for each candidate, one in each head's table, and
      keeps the best hit of each candidate (:meth:`vectors`). Only the best head gets a gradient.

    Args:
        num_heads: H, which must divide the towers' ``output_dim``.
        reduce: ``"mean"`` or ``"max"`` of the H products.
        logit_scale: as for ``Dot``.
        learnable: as for ``Dot``.
        max_logit_scale: as for ``Dot``.

    The heads are paired: query head 1 is never compared with candidate head 2. In MIND (arXiv 1904.08030), only the
    query has several heads, and each is compared with the candidate's single head.

    Raises:
        UserError: ``num_heads`` is below 1 or does not divide the width, or ``reduce`` is unknown.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.scorers import MultiHeadDot
        >>> query, candidate = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.0, 0.0, 0.9]])
        >>> MultiHeadDot(2, "max")(query, candidate), MultiHeadDot(2, "mean")(query, candidate)
        (tensor([[0.9000]]), tensor([[0.7000]]))
    """

    def __init__(
        self,
        num_heads: int,
        reduce: Reduce = "mean",
        logit_scale: float = 1.0,
        learnable: bool = False,
        max_logit_scale: float = 100.0,
    ) -> None:
        super().__init__(logit_scale, learnable, max_logit_scale)
        require_at_least("MultiHeadDot", "num_heads", num_heads)
        require_choice("MultiHeadDot", "reduce", reduce, get_args(Reduce))
        self.num_heads, self.reduce = num_heads, reduce

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse towers whose embeddings cannot be divided into H heads of equal width.

        Raises:
            UserError: the widths differ, or ``num_heads`` does not divide the width.
        """
        super().check_widths(query_dim, candidate_dim)
        if query_dim % self.num_heads:
            raise UserError(
                f"MultiHeadDot: num_heads is {self.num_heads}, which does not divide embeddings of width {query_dim}; "
                "choose another output_dim, and use towers without bias, which would be one more dimension"
            )

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, H·d), (C, H·d) -> (Q, C) float32."""
        if self.reduce == "mean":
            return super().forward(query, candidate)
        with torch.autocast(query.device.type, enabled=False):
            heads = self._heads(self._scaled(query, candidate)) @ self._heads(candidate.float()).mT  # (H, Q, C)
            return heads.max(0).values  # backward keeps only the number of the best head

    def pairs(self, query: Tensor, candidate: Tensor, columns: Tensor) -> Tensor:
        """(Q, H·d), (C, H·d), (Q, n) -> (Q, n) float32."""
        if self.reduce == "mean":
            return super().pairs(query, candidate, columns)
        with torch.autocast(query.device.type, enabled=False):
            products = F.embedding(columns, candidate.float()) * self._scaled(query, candidate)[:, None]  # (Q, n, H·d)
            return self._heads(products.flatten(0, 1)).sum(-1).max(0).values.view_as(columns)

    def vectors(self, embedding: Tensor) -> Tensor:
        """(B, H·d) -> (1, B, H·d) for the mean, (H, B, d) for the maximum."""
        return embedding[None] / self.num_heads**0.5 if self.reduce == "mean" else self._heads(embedding)

    def _scaled(self, query: Tensor, candidate: Tensor) -> Tensor:
        self.check_widths(query.shape[-1], candidate.shape[-1])
        scaled = super()._scaled(query, candidate)
        return scaled / self.num_heads if self.reduce == "mean" else scaled

    def _heads(self, embedding: Tensor) -> Tensor:
        """(B, H·d) -> (H, B, d)."""
        width = embedding.shape[1] // self.num_heads
        return embedding.reshape(embedding.shape[0], self.num_heads, width).transpose(0, 1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"num_heads={self.num_heads}, reduce={self.reduce!r}, {super().extra_repr()}"
