"""What turns the encodings of one side's features into one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from dssm_lightning.utils.errors import UserError


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
            raise UserError(f"{type(self).__name__}: a tower needs at least one feature, found none")
        self.input_dims = list(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, output_dim)."""
        raise NotImplementedError

    def _one_width(self) -> int:
        """The width that all encodings have."""
        if len(set(self.input_dims)) > 1:
            raise UserError(
                f"{type(self).__name__} needs encodings of one width, found {self.input_dims} (in the order of the "
                "features); give their `encoders` the same output_dim (a Numeric needs a Linear encoder), or take "
                "Concat"
            )
        return self.input_dims[0]


FusionFactory: TypeAlias = Callable[[list[int]], Fusion]
