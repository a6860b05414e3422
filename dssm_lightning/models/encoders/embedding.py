"""Embedding of categories."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import id_table
from dssm_lightning.utils.errors import UserError, require_fraction
from dssm_lightning.utils.ragged import Column
from dssm_lightning.utils.unit_rows import unit_rows


class Embedding(Encoder):
    """Table rows of ids: (B,) -> (B, output_dim). Row 0 is the unknown category and starts as zeros.

    Args:
        feature: a fitted Categorical or Bucketized.
        output_dim: width of the table.
        id_dropout: probability with which training replaces a row's category by the unknown one. This trains row 0 for
            categories that training never saw (Volkovs et al. 2017, DropoutNet), and the model depends less on ids.
        sparse: whether the table's gradient is a sparse tensor of the rows in the batch. The optimizer must support it.
            Faster from about 100,000 rows.
        init_range: initial values are uniform in [−init_range, init_range]; None = normal, with mean squared length 1.
        normalize: whether rows get the length 1. The unknown category's stays zeros until training changes it.

    Raises:
        UserError: the feature is of another kind, the width is below 1, or the probability is outside [0, 1).

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Categorical
        >>> from dssm_lightning.models.encoders import Embedding
        >>> encoder = Embedding(Categorical(name="city", vocabulary=("Bonn", "Rome")), output_dim=3)
        >>> encoder(torch.tensor([2, 1, 0])).shape, encoder(torch.tensor([0])).tolist()
        (torch.Size([3, 3]), [[0.0, 0.0, 0.0]])
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 32,
        id_dropout: float = 0.0,
        sparse: bool = False,
        init_range: float | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(feature, Categorical | Bucketized):
            raise UserError(
                f"Embedding encodes Categorical and Bucketized features; {feature.name!r} is {type(feature).__name__}"
            )
        require_fraction(f"Embedding of {feature.name!r}", "id_dropout", id_dropout)
        self.table = id_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.id_dropout, self.normalize = id_dropout, normalize

    def forward(self, column: Column) -> Tensor:
        """(B,) int -> (B, output_dim)."""
        assert isinstance(column, Tensor)
        if self.training and self.id_dropout > 0:
            dropped = torch.rand(column.shape, device=column.device) < self.id_dropout
            column = column.masked_fill(dropped, 0)
        embedded: Tensor = self.table(column)
        return unit_rows(embedded) if self.normalize else embedded
