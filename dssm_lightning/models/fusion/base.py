"""The base class of all fusions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn

from dssm_lightning.utils.errors import UserError


class Fusion(nn.Module):
    """Base of all fusions: encodings (B, d_i), in the schema's order, -> one vector (B, output_dim).

    A tower builds its fusion as ``SomeFusion(input_dims, **options)``. A subclass sets ``output_dim`` and implements
    ``forward``.

    Args:
        input_dims: width of each encoding; at least one encoding.

    Raises:
        UserError: there is no encoding.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import Fusion
        >>> class Maximum(Fusion):
        ...     def __init__(self, input_dims):
        ...         super().__init__(input_dims)
        ...         self.output_dim = input_dims[0]
        ...     def forward(self, encodings):
        ...         return torch.stack(encodings).amax(0)
        >>> Maximum([2, 2])([torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 2.0]])])
        tensor([[3., 5.]])
    """

    output_dim: int

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__()
        if not input_dims:
            raise UserError(f"{type(self).__name__}: a tower needs at least one feature, found no features")
        self.input_dims = list(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, output_dim)."""
        raise NotImplementedError

    def _one_width(self) -> int:
        """The common width of all encodings."""
        if len(set(self.input_dims)) > 1:
            raise UserError(
                f"{type(self).__name__} needs encodings of equal width, found {self.input_dims} (in the order of the "
                "features); give their `encoders` the same output_dim (a Numeric needs a Linear encoder), or use Concat"
            )
        return self.input_dims[0]


FusionFactory: TypeAlias = Callable[[list[int]], Fusion]
