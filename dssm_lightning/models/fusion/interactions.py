"""Fusions in which features weigh or multiply each other."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.models.fusion.base import Fusion
from dssm_lightning.utils.errors import UserError

Squeeze = Literal["mean", "sum", "max"]
Gate = Literal["sigmoid", "double_sigmoid"]


class SENet(Fusion):
    r"""The encodings side by side, each times one weight that depends on all of them: (B, d_1 + d_2 + …).

    .. math:: z_i = \mathrm{squeeze}(e_i), \qquad
        a = g(W_2 \, \mathrm{ReLU}(W_1 z)), \qquad
        \mathrm{output} = [a_1 e_1; a_2 e_2; …]

    with :math:`W_1` of (m / reduction, m) and :math:`W_2` of (m, m / reduction) for m features, both without a bias. A
    row in which a feature says little thus passes little of it on.

    Args:
        input_dims: width d_i of each encoding; they may differ.
        squeeze: how an encoding becomes one number.
        gate: g. ``"sigmoid"`` weighs in (0, 1), one half where nothing is known; ``"double_sigmoid"``, 2 × sigmoid,
            weighs in (0, 2) and starts near 1, where it leaves the encodings as they are (PEPNet, arXiv 2302.01115).
        reduction: the hidden layer has m / reduction units, rounded down, and at least one.

    Source: FiBiNET, arXiv 1905.09433, whose g is a ReLU; after squeeze-and-excitation for images, arXiv 1709.01507.
    DSSM + SENet is a ``Tower`` with this fusion on both sides.

    Raises:
        ValueError: an unknown squeeze or gate, or a reduction that is not positive.
    """

    def __init__(
        self, input_dims: list[int], squeeze: Squeeze = "mean", gate: Gate = "sigmoid", reduction: float = 2
    ) -> None:
        super().__init__(input_dims)
        for name, value, possible in (("squeeze", squeeze, Squeeze), ("gate", gate, Gate)):
            if value not in get_args(possible):
                raise UserError(f"SENet: {name} is {value!r}; possible: {', '.join(get_args(possible))}")
        if not reduction > 0:
            raise UserError(f"SENet: reduction is {reduction}; it must be positive (2 halves the hidden layer)")
        self.squeeze, self.gate = squeeze, gate
        num_features = len(input_dims)
        width = max(1, int(num_features / reduction))
        self.excitation = nn.Sequential(
            nn.Linear(num_features, width, bias=False), nn.ReLU(), nn.Linear(width, num_features, bias=False)
        )
        self.output_dim = sum(input_dims)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, d_1 + d_2 + …)."""
        weights = self.weights(encodings)  # (B, m)
        return torch.cat([encoding * weights[:, i, None] for i, encoding in enumerate(encodings)], dim=-1)

    def weights(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, m) the weight of each of m encodings, to be looked at."""
        squeezed = torch.stack([self._squeezed(encoding) for encoding in encodings], dim=-1)  # (B, m)
        weights = torch.sigmoid(self.excitation(squeezed))
        return 2 * weights if self.gate == "double_sigmoid" else weights

    def _squeezed(self, encoding: Tensor) -> Tensor:
        """(B, d) -> (B,)."""
        if self.squeeze == "max":
            return encoding.amax(dim=-1)
        return encoding.sum(dim=-1) if self.squeeze == "sum" else encoding.mean(dim=-1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"squeeze={self.squeeze!r}, gate={self.gate!r}"


class Cross(Fusion):
    r"""Products of features up to the degree ``num_layers`` + 1, each weighted by what is learnt: (B, d_1 + d_2 + …).

    .. math:: x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l

    with :math:`x_0` the encodings side by side.

    Args:
        input_dims: width of each encoding; they may differ.
        num_layers: how often x_0 is multiplied in.
        rank: with a rank r, :math:`W = U V^\top` for U and V of (D, r): 2 r D weights a layer in place of D². DCN-v2
            finds a quarter of D to be enough.

    Source: DCN-v2, arXiv 2008.13535.

    Raises:
        ValueError: ``num_layers`` or ``rank`` below 1.
    """

    def __init__(self, input_dims: list[int], num_layers: int = 2, rank: int | None = None) -> None:
        super().__init__(input_dims)
        for name, value in (("num_layers", num_layers), ("rank", rank)):
            if value is not None and value < 1:
                raise UserError(f"Cross: {name} is {value}; it must be at least 1")
        self.output_dim = width = sum(input_dims)
        self.layers = nn.ModuleList(
            nn.Linear(width, width)
            if rank is None
            else nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
            for _ in range(num_layers)
        )

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, d_1 + d_2 + …)."""
        start = torch.cat(encodings, dim=-1)  # (B, D)
        crossed = start
        for layer in self.layers:
            crossed = start * layer(crossed) + crossed
        return crossed


class FM(Fusion):
    r"""The products of all pairs of features, added up, which have one width: (B, d).

    .. math:: \sum_{i<j} v_i \odot v_j = \tfrac12 \Big( \big(\sum_i v_i\big)^2 - \sum_i v_i^2 \Big)

    The second-order part of a factorisation machine before it is summed to one number ("bi-interaction pooling"), so
    that layers and the other side's embedding can make something of each of its d components. It has no parameters and
    no part that is linear in the features: set it beside another branch with :class:`Parallel` to keep that.
    :class:`FMScore` is the machine as a score over both sides.

    Args:
        input_dims: width d of each encoding, all alike, of at least two features.

    Sources: Rendle, ICDM 2010 (factorisation machines); He & Chua, arXiv 1708.05027 (the pooling).

    Raises:
        ValueError: encodings of different widths, or a single one.
    """

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        self.output_dim = self._one_width()
        if len(input_dims) < 2:
            raise UserError("FM multiplies pairs of features, and this side has a single one; take Concat")

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        return pair_products(torch.stack(encodings))


def pair_products(vectors: Tensor) -> Tensor:
    """(m, B, d) -> (B, d): the sum over all pairs of the elementwise product, in time linear in m."""
    squares: Tensor = vectors.sum(dim=0) ** 2 - (vectors**2).sum(dim=0)
    return squares / 2


class Gated(Fusion):
    r"""A weighted mean of the encodings, which have one width, by weights that depend on all of them: (B, d).

    .. math:: \alpha = \mathrm{softmax}_i(W [e_1; e_2; …] + b), \qquad \mathrm{output} = \sum_i \alpha_i \odot e_i

    The weights of a row sum to 1: what one feature gains the others lose, so that a title can stand in for an id that
    training never saw. W and b start at zero, and the output as the plain mean. :class:`SENet` weighs each feature for
    itself and keeps them apart.

    Args:
        input_dims: width d of each encoding, all alike.
        per_dimension: each of the d components has weights of its own; otherwise one weight goes for a whole encoding.

    Source: after the gated multimodal unit, arXiv 1702.01992.

    Raises:
        ValueError: encodings of different widths.
    """

    def __init__(self, input_dims: list[int], per_dimension: bool = False) -> None:
        super().__init__(input_dims)
        self.output_dim = self._one_width()
        self.per_dimension = per_dimension
        self.gate = nn.Linear(sum(input_dims), len(input_dims) * (self.output_dim if per_dimension else 1))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        gates = self.gate(torch.cat(encodings, dim=-1)).unflatten(-1, (len(encodings), -1))  # (B, m, d or 1)
        weighted: Tensor = gates.softmax(dim=1) * torch.stack(encodings, dim=1)  # (B, m, d)
        return weighted.sum(dim=1)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"per_dimension={self.per_dimension}"
