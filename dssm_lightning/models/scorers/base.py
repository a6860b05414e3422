"""The base class of all scorers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from dssm_lightning.utils.errors import UserError


class Scorer(nn.Module):
    """Base of all scorers: embeddings of both sides, (Q, D) and (C, D), -> (Q, C) logits in float32.

    The scorer decides which widths of the towers fit (:meth:`check_widths`), and whether an index of inner products
    can serve the model (:attr:`indexable`).

    Example:
        >>> import torch
        >>> from dssm_lightning.models.scorers import Scorer
        >>> class Distance(Scorer):
        ...     def forward(self, query, candidate):
        ...         return -torch.cdist(query, candidate)
        >>> scorer, query, candidate = Distance(), torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])
        >>> scorer(query, candidate), scorer.pairs(query, candidate, columns=torch.tensor([[1]]))
        (tensor([[-5., -1.]]), tensor([[-1.]]))
    """

    indexable: ClassVar[bool] = False
    """Whether logits and inner products of :meth:`vectors` give the same ranking, so that an index can serve."""
    takes_any_width: ClassVar[bool] = True
    """Whether shorter embeddings can be scored as well, as those of :class:`~dssm_lightning.losses.Matryoshka` are."""
    num_heads: int = 1
    """Equal parts of an embedding that are compared by themselves."""

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (C, D) -> (Q, C)."""
        raise NotImplementedError

    def pairs(self, query: Tensor, candidate: Tensor, columns: Tensor) -> Tensor:
        """(Q, D), (C, D), (Q, n) -> (Q, n): each query's logits with the candidates of its own columns only.

        Equal to the columns of ``forward``. Here all logits are computed; subclasses compute only the given columns.
        """
        logits = self(query, candidate)
        assert isinstance(logits, Tensor)
        return logits.gather(1, columns)

    def vectors(self, embedding: Tensor) -> Tensor:
        """(B, D) embeddings of either side -> (H, B, d) vectors for H indexes of inner products.

        Query vector h searches index h. A logit is the largest of the H inner products, times a scale. H is 1 except
        in a scorer with several heads. The top-k of all candidates are among the merged top-k of the H indexes.

        Raises:
            UserError: the scorer is not ``indexable``.
        """
        self.check_indexable(type(self).__name__)
        return embedding[None]

    def check_indexable(self, purpose: str) -> None:
        """Refuse a scorer that an index cannot serve.

        Args:
            purpose: what needs an index; the start of the error message.

        Raises:
            UserError: the scorer is not ``indexable``.
        """
        if not self.indexable:
            raise UserError(
                f"{purpose}: {type(self).__name__} does not rank by inner products of embeddings, so an index cannot "
                "serve this model; `search` and `score` use the scorer itself"
            )

    def check_widths(self, query_dim: int, candidate_dim: int) -> None:
        """Refuse towers with embeddings that the scorer cannot compare.

        Raises:
            UserError: the widths differ. (A subclass may have another condition.)
        """
        if query_dim != candidate_dim:
            raise UserError(
                f"the towers end in different widths: query {query_dim}, candidate {candidate_dim}; "
                "give both towers the same output_dim"
            )
