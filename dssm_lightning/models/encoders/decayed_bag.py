"""A history in which what is older counts less."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, entry_table, entry_vectors
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class DecayedEmbeddingBag(Encoder):
    """Mean or sum of a history in which what is older counts less: weights 0.5 ** (age / half_life).

    The weights of a row's mean sum to one, so that only ages relative to each other matter. Siblings:
    :class:`EmbeddingBag` is the limit of an endless half-life.

    Args:
        feature: a fitted History, whose ``age`` says in what unit a half-life counts.
        output_dim: width D of the table; for a history of whole candidates, the candidate tower's.
        half_life: the age at which an entry counts half of a new one.
        learnable: whether training changes the half-life (its logarithm, so that it stays above 0).
        pooling: "mean", or "sum" of the decayed entries, which grows with how much was liked lately.
        sparse: as in :class:`EmbeddingBag`.
        init_range: likewise.

    Raises:
        ValueError: a half-life or width that is not positive, or another pooling.
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 128,
        *,
        half_life: float,
        learnable: bool = False,
        pooling: Literal["mean", "sum"] = "mean",
        sparse: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        if not half_life > 0:
            raise UserError(f"encoder of {feature.name!r}: half_life is {half_life}; it must be above 0")
        if pooling not in ("mean", "sum"):
            raise UserError(f"encoder of {feature.name!r}: pooling is {pooling!r}; it can be mean, sum")
        self.name = feature.name
        self.table = entry_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.pooling = pooling
        log_half_life = torch.tensor([math.log(half_life)])  # (1,): FSDP refuses to shard scalars
        self.log_half_life = nn.Parameter(log_half_life, requires_grad=learnable)

    @property
    def half_life(self) -> float:
        """The age at which an entry counts half of a new one, as it is now."""
        return math.exp(self.log_half_life.item())

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, with ages -> (B, D).

        Raises:
            ValueError: the column has no ages.
        """
        assert isinstance(column, Ragged)
        if column.age is None:
            raise UserError(
                f"encoder of {self.name!r}: DecayedEmbeddingBag needs the age of each value, which only a History "
                "has; use EmbeddingBag"
            )
        table, sparse = entry_vectors(self.table, column)
        num_rows, rows = len(column.offsets) - 1, column.rows
        age = column.age.to(table.dtype)
        if self.pooling == "mean":
            # Ages are taken from the row's newest entry: a long gone history would otherwise have no weight at all.
            newest = age.new_zeros(num_rows).scatter_reduce(0, rows, age, "amin", include_self=False)
            age = age - newest[rows]
        weights = torch.exp2(-age * torch.exp(-self.log_half_life))
        if self.pooling == "mean":
            weights = weights / weights.new_zeros(num_rows).index_add(0, rows, weights)[rows]
        return bag_sums(table, column.values, column.offsets, weights, sparse=sparse)

    def extra_repr(self) -> str:
        """What distinguishes this bag from others."""
        learnt = ", learnable" if self.log_half_life.requires_grad else ""
        return f"half_life={self.half_life:.4g}{learnt}, pooling={self.pooling!r}"
