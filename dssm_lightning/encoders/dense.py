"""Floats as they are, or through one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from dssm_lightning.batch import Column
from dssm_lightning.encoders.base import Encoder
from dssm_lightning.features.base import Feature
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.projection import BagOfWordsRandomProjection
from dssm_lightning.features.vector import Vector


class Identity(Encoder):
    """(B, width) floats as they are.

    Args:
        feature: a fitted Numeric, Vector or BagOfWordsRandomProjection.

    Raises:
        ValueError: a feature of another kind.
    """

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        self.output_dim = _width(self, feature)

    def forward(self, column: Column) -> Tensor:
        """(B, width) -> (B, width)."""
        assert isinstance(column, Tensor)
        return column


class Linear(Encoder):
    """(B, width) floats -> (B, output_dim) by one linear layer with a bias.

    Args:
        feature: a fitted Numeric, Vector or BagOfWordsRandomProjection.
        output_dim: width of the result.

    Raises:
        ValueError: a feature of another kind; a width below 1.
    """

    def __init__(self, feature: Feature, output_dim: int = 32) -> None:
        super().__init__()
        if output_dim < 1:
            raise ValueError(f"Linear of {feature.name!r}: output_dim must be at least 1, found {output_dim}")
        self.linear = nn.Linear(_width(self, feature), output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """(B, width) -> (B, output_dim)."""
        projected: Tensor = self.linear(column)
        return projected


def _width(encoder: Encoder, feature: Feature) -> int:
    if not isinstance(feature, Numeric | Vector | BagOfWordsRandomProjection):
        name, kind = type(encoder).__name__, type(feature).__name__
        raise ValueError(
            f"{name} encodes Numeric, Vector and BagOfWordsRandomProjection features; {feature.name!r} is {kind}"
        )
    return feature.width
