"""Several embeddings for each side in one: each head has its own dot product."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.models.scorers.dot import Dot
from dssm_lightning.utils.errors import UserError

Reduce = Literal["mean", "max"]


class MultiHeadDot(Dot):
    """The mean or the maximum of H dot products: head h of the query with head h of the candidate.

    An embedding (B, H·d) is H heads side by side; ``Tower(num_heads=H)`` scales each of them to length 1, so that each
    product is a cosine. With one head this is ``Dot``.

    - ``"mean"``: Σ_h q_h · c_h / H, which is one dot product of the whole embeddings. It differs from ``Dot`` by the
      heads' lengths alone: none can outweigh the others.
    - ``"max"``: max_h q_h · c_h. A query may stand for several interests, each near other candidates, and a candidate
      is found by the best of them. An index holds H vectors for each candidate, one in each head's table, and keeps
      the best of a candidate's hits (:meth:`vectors`). The gradient goes to the best head.

    Args:
        num_heads: H, which divides the towers' ``output_dim``.
        reduce: what is made of the H products.
        logit_scale: as for ``Dot``.
        learnable: as for ``Dot``.
        max_logit_scale: as for ``Dot``.

    The heads are paired: query head 1 never meets candidate head 2. In MIND (arXiv 1904.08030) the query alone has
    several, and each meets the candidate's only one.

    Raises:
        ValueError: heads below 1 or that do not divide the width; an unknown ``reduce``.
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
        if num_heads < 1:
            raise UserError(f"MultiHeadDot: num_heads is {num_heads}; it must be at least 1")
        if reduce not in get_args(Reduce):
            raise UserError(f"MultiHeadDot: reduce is {reduce!r}; possible: {', '.join(get_args(Reduce))}")
        self.num_heads, self.reduce = num_heads, reduce

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse towers whose embeddings are not H heads of equal width.

        Raises:
            ValueError: as said.
        """
        super().check_widths(query_dim, candidate_dim)
        if query_dim % self.num_heads:
            raise UserError(
                f"MultiHeadDot has {self.num_heads} heads, which do not divide embeddings {query_dim} wide; choose "
                "another output_dim (and leave `bias` to Dot: it would be a dimension more)"
            )

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, H·d), (C, H·d) -> (Q, C) float32."""
        if self.reduce == "mean":
            return super().forward(query, candidate)
        with torch.autocast(query.device.type, enabled=False):
            heads = self._heads(self._scaled(query, candidate)) @ self._heads(candidate.float()).mT  # (H, Q, C)
            return heads.max(0).values  # what backward keeps is the number of the best head alone

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
        return embedding.reshape(len(embedding), self.num_heads, embedding.shape[1] // self.num_heads).transpose(0, 1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"num_heads={self.num_heads}, reduce={self.reduce!r}, {super().extra_repr()}"
