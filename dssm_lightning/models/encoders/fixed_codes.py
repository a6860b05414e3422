"""Fixed codes of ids, whose dot product tells whether two rows name the same id."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column


class Codes(EmbeddingBag):
    r"""Fixed codes of ids, nearly orthogonal, times one weight: two rows' dot product counts the ids that both name.

    A learnt table of D dimensions cannot push down exactly those candidates that a query was shown before, and learns
    users by heart when it tries. With the history of what was shown on one side (``weight`` below 0), the candidate's
    id on the other and both in the ``bypass`` of their towers, the score of a
    candidate that was shown falls by the weight, and nothing else is learnt of it:

    .. math:: w \sum_{j \in \text{shown}} \langle g_j, g_c \rangle \approx w \cdot [c \in \text{shown}],
        \qquad \langle g_j, g_j \rangle = 1

    The codes of V ids are rows of a random matrix with orthonormal columns. Two different ones have a dot product of
    0 ± √((1 − D/V) / D), which is 0 from D = V on; independent Gaussian vectors would have 0 ± √(1/D). The unknown id
    is zeros: it equals nothing, itself neither.

    Args:
        feature: a fitted feature of ids: one for each row, a list or a History. Encoders of as many ids with the same
            output_dim and seed have the same codes.
        output_dim: width D of the codes, at a cost of V·D² operations to make them.
        weight: w.
        learnable: whether training changes the weight.
        seed: of the codes; they are part of the checkpoint.

    Raises:
        ValueError: a feature without ids, or a width below 1.
    """

    def __init__(
        self, feature: Feature, output_dim: int = 1024, weight: float = 1.0, learnable: bool = False, seed: int = 0
    ) -> None:
        super().__init__(feature, output_dim, pooling="sum")
        if self.table is None:
            raise UserError(f"encoder of {feature.name!r}: a history of whole candidates has no ids to give codes to")
        codes = self.table.weight.requires_grad_(False)
        nn.init.orthogonal_(codes, generator=torch.Generator().manual_seed(seed))
        codes.copy_(F.normalize(codes))
        codes[0] = 0.0
        self.weight = nn.Parameter(torch.tensor([float(weight)]), requires_grad=learnable)  # (1,): as FSDP wants it

    def forward(self, column: Column) -> Tensor:
        """(B,) int, Ragged of B rows, or Prefixes of B events -> (B, D)."""
        assert self.table is not None
        codes: Tensor = self.table(column) if isinstance(column, Tensor) else super().forward(column)
        return codes * self.weight

    def extra_repr(self) -> str:
        """What distinguishes these codes from others."""
        return f"weight={self.weight.item():.4g}{', learnable' if self.weight.requires_grad else ''}"
