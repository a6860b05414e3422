"""Encoders of floats, and a linear layer after any encoder."""

from __future__ import annotations

from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.random_projection import BagOfWordsRandomProjection
from dssm_lightning.features.vector import Vector
from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.encoders.base import Encoder, EncoderFactory
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.ragged import Column


class Identity(Encoder):
    """Pass floats (B, width) through unchanged.

    Args:
        feature: a fitted Numeric, Vector or BagOfWordsRandomProjection.

    Raises:
        UserError: the feature is of another kind.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Numeric
        >>> from dssm_lightning.models.encoders import Identity
        >>> Identity(Numeric(name="age"))(torch.tensor([[0.5], [2.0]])).tolist()
        [[0.5], [2.0]]
    """

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        self.output_dim = _width(self, feature)

    def forward(self, column: Column) -> Tensor:
        """(B, width) -> (B, width)."""
        assert isinstance(column, Tensor)
        return column


class Linear(Encoder):
    """One linear layer with a bias: floats (B, width) -> (B, output_dim).

    Args:
        feature: a fitted Numeric, Vector or BagOfWordsRandomProjection.
        output_dim: width of the result.

    Raises:
        UserError: the feature is of another kind, or the width is below 1.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.models.encoders import Linear
        >>> Linear(Vector(name="embedding", length=384), output_dim=16)(torch.randn(2, 384)).shape
        torch.Size([2, 16])
    """

    def __init__(self, feature: Feature, output_dim: int = 32) -> None:
        super().__init__()
        require_at_least(f"Linear of {feature.name!r}", "output_dim", output_dim)
        self.linear = nn.Linear(_width(self, feature), output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """(B, width) -> (B, output_dim)."""
        projected: Tensor = self.linear(column)
        return projected


class Dense(Encoder):
    """Add a linear layer and an activation after another encoder: (B, …) -> (B, output_dim).

    The tower's ``initialization`` also applies to this layer.

    Args:
        feature: a feature that the inner encoder takes.
        encoder: function feature -> inner encoder.
        output_dim: width of the layer.
        activation: name of a ``torch.nn`` class, after the layer; None = no activation.

    Raises:
        UserError: the width is below 1, torch does not have the activation, or the inner encoder refuses the feature.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Categorical
        >>> from dssm_lightning.models.encoders import Dense, Embedding
        >>> encoder = Dense(Categorical(name="city", vocabulary=("Bonn", "Rome")), Embedding, output_dim=4)
        >>> encoder(torch.tensor([2, 0])).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, feature: Feature, encoder: EncoderFactory, output_dim: int = 128, activation: str | None = "ReLU"
    ) -> None:
        super().__init__()
        require_at_least(f"Dense of {feature.name!r}", "output_dim", output_dim)
        self.encoder = encoder(feature)
        self.layers = nn.Sequential(nn.Linear(self.encoder.output_dim, output_dim))
        if activation is not None:
            self.layers.append(activation_layer(activation, f"Dense of {feature.name!r}"))
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
