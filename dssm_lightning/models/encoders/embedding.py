"""A vector for each category."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import id_table
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column


class Embedding(Encoder):
    """(B,) ids -> (B, output_dim), the rows of a table; row 0 is the unknown category and starts at zero.

    Args:
        feature: a fitted Categorical or Bucketized.
        output_dim: width of the vectors.
        id_dropout: probability with which training takes a row's category for unknown. It teaches row 0 what to
            say of a category never seen (Volkovs et al. 2017, DropoutNet), and the model not to lean on ids alone.
        sparse: give the table a gradient of the rows that a batch used alone, for optimizers that take one: faster
            from about 100,000 rows on.
        init_range: start uniformly in [−init_range, init_range]; None = normally, with length 1 on average.

    Raises:
        ValueError: a feature of another kind; a width below 1; a probability outside [0, 1).
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 32,
        id_dropout: float = 0.0,
        sparse: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(feature, Categorical | Bucketized):
            raise UserError(
                f"Embedding encodes Categorical and Bucketized features; {feature.name!r} is {type(feature).__name__}"
            )
        if not 0 <= id_dropout < 1:
            raise UserError(f"Embedding of {feature.name!r}: id_dropout must lie in [0, 1), found {id_dropout}")
        self.table = id_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.id_dropout = id_dropout

    def forward(self, column: Column) -> Tensor:
        """(B,) int -> (B, output_dim)."""
        assert isinstance(column, Tensor)
        if self.training and self.id_dropout > 0:
            dropped = torch.rand(column.shape, device=column.device) < self.id_dropout
            column = column.masked_fill(dropped, 0)
        embedded: Tensor = self.table(column)
        return embedded
