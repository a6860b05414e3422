"""How the encodings of one side's features become one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """The module that turns encodings (B, d_i), in the schema's order, into one vector (B, output_dim).

    Built as ``SomeFusion(input_dims, **options)``. A subclass sets ``output_dim`` and writes ``forward``.

    Args:
        input_dims: width of each encoding; at least one.

    Raises:
        ValueError: no encoding at all.
    """

    output_dim: int

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__()
        if not input_dims:
            raise ValueError(f"{type(self).__name__}: a tower needs at least one feature, found none")
        self.input_dims = list(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, output_dim)."""
        raise NotImplementedError


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

    Args:
        input_dims: width of each encoding, all alike.

    Raises:
        ValueError: encodings of different widths.
    """

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        if len(set(input_dims)) > 1:
            raise ValueError(
                f"Sum needs encodings of one width, found {self.input_dims} (in the order of the features); give their "
                "`encoders` the same output_dim (a Numeric needs a Linear encoder), or take Concat"
            )
        self.output_dim = input_dims[0]

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        return torch.stack(encodings).sum(dim=0)
