"""Floats as they are, or through one linear layer; any encoder with a layer after it."""

from __future__ import annotations

from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.random_projection import BagOfWordsRandomProjection
from dssm_lightning.features.vector import Vector
from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.encoders.base import Encoder, EncoderFactory
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column


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
            raise UserError(f"Linear of {feature.name!r}: output_dim must be at least 1, found {output_dim}")
        self.linear = nn.Linear(_width(self, feature), output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """(B, width) -> (B, output_dim)."""
        projected: Tensor = self.linear(column)
        return projected


class Dense(Encoder):
    """Another encoder, and a layer after it: (B, …) -> (B, output_dim), a branch with a layer of its own.

    The tower's ``initialization`` reaches this layer, too.

    Args:
        feature: what the inner encoder takes.
        encoder: feature -> encoder, the inner one.
        output_dim: width of the layer.
        activation: name of a ``torch.nn`` class, after the layer; None for none.

    Raises:
        ValueError: a width below 1; an activation that torch does not have; what the inner encoder raises.
    """

    def __init__(
        self, feature: Feature, encoder: EncoderFactory, output_dim: int = 128, activation: str | None = "ReLU"
    ) -> None:
        super().__init__()
        if output_dim < 1:
            raise UserError(f"Dense of {feature.name!r}: output_dim must be at least 1, found {output_dim}")
        self.encoder = encoder(feature)
        self.layers = nn.Sequential(nn.Linear(self.encoder.output_dim, output_dim))
        if activation is not None:
            self.layers.append(activation_layer(activation))
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """(B, …) -> (B, output_dim)."""
        encoded: Tensor = self.layers(self.encoder(column))
        return encoded


def _width(encoder: Encoder, feature: Feature) -> int:
    if not isinstance(feature, Numeric | Vector | BagOfWordsRandomProjection):
        name, kind = type(encoder).__name__, type(feature).__name__
        raise UserError(
            f"{name} encodes Numeric, Vector and BagOfWordsRandomProjection features; {feature.name!r} is {kind}"
        )
    return feature.width
