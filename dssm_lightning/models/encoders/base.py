"""The base class of all encoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.ragged import Column


class Encoder(nn.Module):
    """Base of all encoders: one feature's column (B, …) -> vectors (B, output_dim).

    A tower builds its encoders as ``SomeEncoder(feature, **options)`` from *fitted* features, which know their sizes. A
    subclass sets ``output_dim`` and implements ``forward``.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Numeric
        >>> from dssm_lightning.models.encoders import Encoder
        >>> class Logarithm(Encoder):
        ...     def __init__(self, feature):
        ...         super().__init__()
        ...         self.output_dim = feature.width
        ...     def forward(self, column):
        ...         return column.clamp(min=1).log()
        >>> Logarithm(Numeric(name="price"))(torch.tensor([[1.0], [10.0]]))
        tensor([[0.0000],
                [2.3026]])
    """

    reads_prefixes: ClassVar[bool] = False
    """Whether the encoder takes :class:`~dssm_lightning.utils.ragged.Prefixes`, and reads a sequence once for all its
    events. Otherwise each event has its own history, as a row of a :class:`~dssm_lightning.utils.ragged.Ragged`."""
    output_dim: int

    def forward(self, column: Column) -> Tensor:
        """(B, …) -> (B, output_dim)."""
        raise NotImplementedError


EncoderFactory: TypeAlias = Callable[[Feature], Encoder]
