"""What every encoder is: one feature's column of a batch in, one vector for each row out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.ragged import Column


class Encoder(nn.Module):
    """The module that turns one feature's column (B, …) into vectors (B, output_dim).

    Built as ``SomeEncoder(feature, **options)`` from a *fitted* feature, which knows its sizes.
    """

    reads_prefixes: ClassVar[bool] = False
    """Whether it reads a shared sequence once for all of its events; else each event is given its own history."""
    output_dim: int

    def forward(self, column: Column) -> Tensor:
        """(B, …) -> (B, output_dim)."""
        raise NotImplementedError


EncoderFactory: TypeAlias = Callable[[Feature], Encoder]
