"""Fusions in which no feature has a say in another's: side by side, added up, or through layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.fusion.base import Fusion
from dssm_lightning.utils.errors import UserError


class Concat(Fusion):
    """The encodings side by side: (B, d_1 + d_2 + …).

    Args:
        input_dims: width of each encoding.
    """

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        self.output_dim = sum(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, d_1 + d_2 + …)."""
        return torch.cat(encodings, dim=-1)


class Sum(Fusion):
    """The sum of the encodings, which have one width: (B, d).

    Followed by a linear layer it is :class:`Concat` with one weight matrix for all features: fewer weights, and a
    feature that has nothing to say is told from the others by nothing but its values.

    With an activation f it is f(Σ encodings + b) with a learnt b (d,). Where the encodings are sums of table rows, that
    is a term vector times a matrix, and so the first layer of the DSSM (Huang et al., CIKM 2013).

    Args:
        input_dims: width of each encoding, all alike.
        activation: name of a ``torch.nn`` class; None = the sum as it is, without b.

    Raises:
        ValueError: encodings of different widths; an activation that torch does not have.
    """

    def __init__(self, input_dims: list[int], activation: str | None = None) -> None:
        super().__init__(input_dims)
        self.output_dim = self._one_width()
        self.bias = None if activation is None else nn.Parameter(torch.zeros(self.output_dim))
        self.activation = None if activation is None else activation_layer(activation)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        total = torch.stack(encodings).sum(dim=0)
        if self.activation is None or self.bias is None:
            return total
        activated: Tensor = self.activation(total + self.bias)
        return activated


class MLP(Fusion):
    """The encodings side by side, through layers: (B, hidden_dims[-1]).

    Each layer is dropout, linear and, on all but the last, the activation. A tower has such layers of its own; this is
    for a branch of :class:`Parallel`, whose siblings have none.

    Args:
        input_dims: width of each encoding.
        hidden_dims: width of each layer; the last is the output's.
        activation: name of a ``torch.nn`` class.
        dropout: probability in [0, 1).

    Raises:
        ValueError: no layer; an activation that torch does not have.
    """

    def __init__(
        self, input_dims: list[int], hidden_dims: list[int], activation: str = "ReLU", dropout: float = 0.0
    ) -> None:
        super().__init__(input_dims)
        if not hidden_dims:
            raise UserError("MLP: hidden_dims is empty; name the width of at least one layer, or take Concat")
        layers, width = nn.Sequential(), sum(input_dims)
        for number, hidden_dim in enumerate(hidden_dims):
            if number:
                layers.append(activation_layer(activation))
            layers.append(nn.Dropout(dropout))
            layers.append(nn.Linear(width, hidden_dim))
            width = hidden_dim
        self.layers, self.output_dim = layers, width

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, hidden_dims[-1])."""
        fused: Tensor = self.layers(torch.cat(encodings, dim=-1))
        return fused
