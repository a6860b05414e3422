"""Fusions without products of features: concatenation, sum, and an MLP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dssm_lightning.models.activations import activation_layer
from dssm_lightning.models.fusion.base import Fusion
from dssm_lightning.utils.errors import UserError, require_at_least, require_fraction


class Concat(Fusion):
    """Concatenate the encodings: (B, d_1 + d_2 + …).

    Args:
        input_dims: width of each encoding.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import Concat
        >>> Concat([2, 1])([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])])
        tensor([[1., 2., 3.]])
    """

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        self.output_dim = sum(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, d_1 + d_2 + …)."""
        return torch.cat(encodings, dim=-1)


class Sum(Fusion):
    """Add up encodings of equal width: (B, d).

    With a linear layer after it, ``Sum`` is :class:`Concat` with one weight matrix for all features. It has fewer
    weights, and the layer cannot distinguish the features.

    With an activation f, the output is f(Σ encodings + b) with a learnable b (d,). If the encodings are sums of table
    rows, this is a term vector times a matrix, the first layer of the DSSM (Huang et al., CIKM 2013).

    Args:
        input_dims: width of each encoding; all must be equal.
        activation: name of a ``torch.nn`` class; None = the plain sum, without b.

    Raises:
        UserError: the encodings differ in width, or torch does not have the activation.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import Sum
        >>> encodings = [torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 0.0]])]
        >>> Sum([2, 2])(encodings), Sum([2, 2], activation="ReLU")(encodings).detach()
        (tensor([[ 4., -2.]]), tensor([[4., 0.]]))
    """

    def __init__(self, input_dims: list[int], activation: str | None = None) -> None:
        super().__init__(input_dims)
        self.output_dim = self._one_width()
        self.bias = None if activation is None else nn.Parameter(torch.zeros(self.output_dim))
        self.activation = None if activation is None else activation_layer(activation, "Sum")

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        total = torch.stack(encodings).sum(dim=0)
        if self.activation is None or self.bias is None:
            return total
        activated: Tensor = self.activation(total + self.bias)
        return activated


class MLP(Fusion):
    """Concatenate the encodings and apply an MLP: (B, hidden_dims[-1]).

    Each layer is dropout and a linear layer, with the activation between two layers. A tower has its own layers after
    the fusion; ``MLP`` is for a branch of :class:`Parallel`.

    Args:
        input_dims: width of each encoding.
        hidden_dims: width of each layer; the last is the width of the output.
        activation: name of a ``torch.nn`` class.
        dropout: probability in [0, 1).

    Raises:
        UserError: there is no layer, a width is below 1, the dropout is outside [0, 1), or torch does not have the
            activation.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import MLP
        >>> MLP([3, 5], hidden_dims=[16, 4])([torch.randn(2, 3), torch.randn(2, 5)]).shape
        torch.Size([2, 4])
    """

    def __init__(
        self, input_dims: list[int], hidden_dims: list[int], activation: str = "ReLU", dropout: float = 0.0
    ) -> None:
        super().__init__(input_dims)
        if not hidden_dims:
            raise UserError("MLP: hidden_dims is []; give the width of at least one layer, or use Concat")
        require_at_least("MLP", f"a width of hidden_dims {hidden_dims}", min(hidden_dims))
        require_fraction("MLP", "dropout", dropout)
        layers, width = nn.Sequential(), sum(input_dims)
        for number, hidden_dim in enumerate(hidden_dims):
            if number:
                layers.append(activation_layer(activation, "MLP"))
            layers.append(nn.Dropout(dropout))
            layers.append(nn.Linear(width, hidden_dim))
            width = hidden_dim
        self.layers, self.output_dim = layers, width

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, hidden_dims[-1])."""
        fused: Tensor = self.layers(torch.cat(encodings, dim=-1))
        return fused
