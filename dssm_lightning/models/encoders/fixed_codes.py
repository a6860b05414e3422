"""Fixed codes of ids, whose dot product counts equal ids."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column


class Codes(EmbeddingBag):
    r"""Fixed, nearly orthogonal codes of ids, times one weight: the dot product of two rows counts their common ids.

    A trainable table of D dimensions cannot push down exactly the candidates that a query was shown before, and
    overfits to users when it tries. Instead, use ``Codes`` of the shown history on one side (with a negative
    ``weight``) and of the candidate's id on the other side, both in the ``bypass`` of their towers. The score of a
    shown candidate then changes by the weight, and nothing else is learnt from the shown history:

    .. math:: w \sum_{j \in \text{shown}} \langle g_j, g_c \rangle \approx w \cdot [c \in \text{shown}],
        \qquad \langle g_j, g_j \rangle = 1

    The codes of V ids are rows of a random matrix with orthonormal columns. The dot product of two different codes is
    0 ± √((1 − D/V) / D), which is 0 for D ≥ V; for independent Gaussian vectors it would be 0 ± √(1/D). The code of the
    unknown id is zeros: its dot product with every code is 0, also with itself.

    The callback :class:`~dssm_lightning.training.callbacks.CodesFromEASE` replaces these codes by others, whose dot
    product is the score of a linear model. Such a model knows the training rows, and what learns beside it learns too
    little from them: ``while_training: false`` on the query's side.

    Args:
        feature: a fitted feature of ids: one id for each row, a list, or a History. Encoders with equal numbers of ids,
            ``output_dim`` and ``seed`` have equal codes.
        output_dim: width D of the codes. Making them takes V·D² operations.
        weight: initial w.
        learnable: whether training changes the weight.
        while_training: False: zeros in training, so that the other features learn as if the codes were not there, and
            the codes are added when candidates are ranked.
        seed: random seed of the codes. The checkpoint has the codes.

    Raises:
        UserError: the feature has no ids, the width is below 1, or a weight is learnable that training does not see.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Categorical
        >>> from dssm_lightning.models.encoders import Codes
        >>> codes = Codes(Categorical(name="film", vocabulary=("Alien", "Heat", "Up")), output_dim=8)
        >>> alien, heat, unknown = codes(torch.tensor([1, 2, 0]))
        >>> [round(abs((alien @ other).item()), 3) for other in (alien, heat, unknown)]
        [1.0, 0.0, 0.0]
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 1024,
        weight: float = 1.0,
        learnable: bool = False,
        seed: int = 0,
        while_training: bool = True,
    ) -> None:
        super().__init__(feature, output_dim, pooling="sum")
        if self.table is None:
            raise UserError(
                f"encoder of {feature.name!r}: a history of whole candidates has no ids, so it cannot have codes"
            )
        codes = self.table.weight.requires_grad_(False)
        nn.init.orthogonal_(codes, generator=torch.Generator().manual_seed(seed))
        codes.copy_(F.normalize(codes))
        codes[0] = 0.0
        if learnable and not while_training:
            raise UserError(
                f"encoder of {feature.name!r}: a learnable weight of codes that training does not see learns nothing; "
                "drop learnable or while_training"
            )
        self.while_training = while_training
        # Shape (1,): FSDP cannot shard scalars.
        self.weight = nn.Parameter(torch.tensor([float(weight)]), requires_grad=learnable)

    def forward(self, column: Column) -> Tensor:
        """(B,) int, Ragged of B rows, or Prefixes of B events -> (B, D)."""
        assert self.table is not None
        codes: Tensor = self.table(column) if isinstance(column, Tensor) else super().forward(column)
        if self.training and not self.while_training:
            return torch.zeros_like(codes)
        return codes * self.weight

    @torch.no_grad()
    def fill(self, ids: Tensor, codes: Tensor) -> None:
        """Replace all codes by (M, D) codes of the ids (M,). Ids that are not among them, and id 0, get zeros."""
        assert self.table is not None
        self.table.weight.zero_()
        self.table.weight[ids] = codes.to(self.table.weight)
        self.table.weight[0] = 0.0

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        seen = "" if self.while_training else ", while_training=False"
        return f"weight={self.weight.item():.4g}{', learnable' if self.weight.requires_grad else ''}{seen}"
