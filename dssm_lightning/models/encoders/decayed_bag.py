"""Bags of a history in which older entries count less."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums, entry_table, entry_vectors
from dssm_lightning.utils.errors import UserError, require_choice, require_positive
from dssm_lightning.utils.ragged import Column, Ragged

Pooling = Literal["mean", "sum"]


class DecayedEmbeddingBag(Encoder):
    """Mean or sum of a history in which older entries count less, with weights 0.5 ** (age / half_life).

    The weights of a row's mean sum to 1, so that only differences between ages matter. :class:`EmbeddingBag` is the
    limit of an infinite half-life.

    Args:
        feature: a fitted History. Its ``age`` is the unit of the half-life.
        output_dim: width D of the table; for a history of whole candidates, the candidate tower's ``output_dim``.

        half_life: age at which an entry counts half as much as a new entry.
        learnable: whether training changes the half-life (its logarithm, so that it stays positive).
        pooling: "mean" of the weighted entries, or their "sum", which grows with the number of recent entries.

        sparse: as in :class:`EmbeddingBag`.
        init_range: as in :class:`EmbeddingBag`.

    Raises:
        UserError: the half-life or a width is not positive, or the pooling is unknown.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Categorical, History
        >>> from dssm_lightning.models.encoders import DecayedEmbeddingBag
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> film = Categorical(name="film", vocabulary=("Alien", "Heat", "Up"))
        >>> encoder = DecayedEmbeddingBag(History(name="seen", of="film").bind(film), 2, half_life=1, pooling="sum")
        >>> _ = encoder.table.weight.data.fill_(1)
        >>> encoder(Ragged(torch.tensor([3, 1]), torch.tensor([0, 2]), age=torch.tensor([2.0, 1.0]))).detach()
        tensor([[0.7500, 0.7500]])
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 128,
        *,
        # weights
        half_life: float,
        learnable: bool = False,
        pooling: Pooling = "mean",
        # table
        sparse: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        owner = f"encoder of {feature.name!r}"
        require_positive(owner, "half_life", half_life, hint="for equal weights use EmbeddingBag")
        require_choice(owner, "pooling", pooling, get_args(Pooling))
        self.name = feature.name
        self.table = entry_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.pooling = pooling
        log_half_life = torch.tensor([math.log(half_life)])  # (1,): FSDP cannot shard scalars
        self.log_half_life = nn.Parameter(log_half_life, requires_grad=learnable)

    @property
    def half_life(self) -> float:
        """The current half-life."""
        return math.exp(self.log_half_life.item())

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, with ages -> (B, D).

        Raises:
            UserError: the column has no ages.
        """
        assert isinstance(column, Ragged)
        if column.age is None:
            raise UserError(
                f"encoder of {self.name!r}: DecayedEmbeddingBag needs the age of each value, which only a History "
                "has; use EmbeddingBag instead"
            )
        table, sparse = entry_vectors(self.table, column)
        num_rows, rows = column.offsets.shape[0] - 1, column.rows
        age = column.age.to(table.dtype)
        if self.pooling == "mean":
            # Ages relative to the row's newest entry: the weights of a history without recent entries would round to 0.
            newest = age.new_zeros(num_rows).scatter_reduce(0, rows, age, "amin", include_self=False)
            age = age - newest[rows]
        weights = torch.exp2(-age * torch.exp(-self.log_half_life))
        if self.pooling == "mean":
            weights = weights / weights.new_zeros(num_rows).index_add(0, rows, weights)[rows]
        return bag_sums(table, column.values, column.offsets, weights, sparse=sparse)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        learnable = ", learnable" if self.log_half_life.requires_grad else ""
        return f"half_life={self.half_life:.4g}{learnable}, pooling={self.pooling!r}"
