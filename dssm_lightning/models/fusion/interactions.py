"""Fusions in which features weight or multiply each other."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.models.fusion.base import Fusion
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_positive

Squeeze = Literal["mean", "sum", "max"]
Gate = Literal["sigmoid", "double_sigmoid"]


class SENet(Fusion):
    r"""Multiply each encoding by a weight that depends on all encodings, and concatenate: (B, d_1 + d_2 + …).

    .. math:: z_i = \mathrm{squeeze}(e_i), \qquad
        a = g(W_2 \, \mathrm{ReLU}(W_1 z)), \qquad
        \mathrm{output} = [a_1 e_1; a_2 e_2; …]

    with :math:`W_1` of shape (m / reduction, m) and :math:`W_2` of shape (m, m / reduction) for m features, both
    without a bias. The fusion can thus give a small weight, row by row, to a feature that is not informative.

    Args:
        input_dims: width d_i of each encoding; the widths may differ.
        squeeze: reduction of an encoding to one number.
        gate: g. ``"sigmoid"`` has weights in (0, 1), 1/2 for an input of 0. ``"double_sigmoid"`` is 2 × sigmoid: its
            weights are in (0, 2) and start near 1, which leaves the encodings unchanged (PEPNet, arXiv 2302.01115).
        reduction: the hidden layer has m / reduction units, rounded down, but at least one.

    Source: FiBiNET, arXiv 1905.09433, whose g is a ReLU; after squeeze-and-excitation for images, arXiv 1709.01507.
    DSSM + SENet is a ``Tower`` with this fusion on both sides.

    Raises:
        UserError: squeeze or gate is unknown, or the reduction is not positive.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import SENet
        >>> fusion, encodings = SENet([2, 3]), [torch.zeros(1, 2), torch.zeros(1, 3)]
        >>> fusion(encodings).shape, fusion.weights(encodings).tolist()
        (torch.Size([1, 5]), [[0.5, 0.5]])
    """

    def __init__(
        self, input_dims: list[int], squeeze: Squeeze = "mean", gate: Gate = "sigmoid", reduction: float = 2
    ) -> None:
        super().__init__(input_dims)
        require_choice("SENet", "squeeze", squeeze, get_args(Squeeze))
        require_choice("SENet", "gate", gate, get_args(Gate))
        require_positive("SENet", "reduction", reduction, hint="2 halves the hidden layer")
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
        """[(B, d_1), (B, d_2), …] -> (B, m) the weights of m encodings, for inspection."""
        squeezed = torch.stack([self._squeezed(encoding) for encoding in encodings], dim=-1)  # (B, m)
        weights = torch.sigmoid(self.excitation(squeezed))
        return 2 * weights if self.gate == "double_sigmoid" else weights

    def _squeezed(self, encoding: Tensor) -> Tensor:
        """(B, d) -> (B,)."""
        if self.squeeze == "max":
            return encoding.amax(dim=-1)
        return encoding.sum(dim=-1) if self.squeeze == "sum" else encoding.mean(dim=-1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"squeeze={self.squeeze!r}, gate={self.gate!r}"


class Cross(Fusion):
    r"""Cross network, weighted products of features up to degree ``num_layers`` + 1: (B, d_1 + d_2 + …).

    .. math:: x_{l+1} = x_0 \odot (W_l x_l + b_l) + x_l

    where :math:`x_0` are the concatenated encodings, of width D.

    Args:
        input_dims: width of each encoding; the widths may differ.
        num_layers: number of layers; each multiplies by x_0 once.
        rank: with a rank r, :math:`W = U V^\top` with U and V of shape (D, r), so that a layer has 2 r D weights in
            place of D². A quarter of D is enough in DCN-v2. None = a full matrix.

    Source: DCN-v2, arXiv 2008.13535.

    Raises:
        UserError: ``num_layers`` or ``rank`` is below 1.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import Cross
        >>> Cross([2, 3], num_layers=2, rank=1)([torch.randn(4, 2), torch.randn(4, 3)]).shape
        torch.Size([4, 5])
    """

    def __init__(self, input_dims: list[int], num_layers: int = 2, rank: int | None = None) -> None:
        super().__init__(input_dims)
        require_at_least("Cross", "num_layers", num_layers)
        require_at_least("Cross", "rank", rank)
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
    r"""Sum of the elementwise products of all pairs of features: (B, d).

    .. math:: \sum_{i<j} v_i \odot v_j = \tfrac12 \Big( \big(\sum_i v_i\big)^2 - \sum_i v_i^2 \Big)

    This is the second-order part of a factorisation machine before the sum over its d components ("bi-interaction
    pooling"), so that layers and the other side's embedding can use each component. ``FM`` has no parameters and no
    part that is linear in the features; combine it with a linear branch by :class:`Parallel`. :class:`FMScore` is the
    score of a factorisation machine over both sides.

    Args:
        input_dims: width d of each encoding, of at least two features; all must be equal.

    Sources: Rendle, ICDM 2010 (factorisation machines); He & Chua, arXiv 1708.05027 (the pooling).

    Raises:
        UserError: the encodings differ in width, or there is only one.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import FM
        >>> FM([2, 2, 2])([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0, 0.0]])])
        tensor([[23.,  8.]])
    """

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        self.output_dim = self._one_width()
        if len(input_dims) < 2:
            raise UserError("FM multiplies pairs of features, but this side has only 1 feature; use Concat")

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d), (B, d), …] -> (B, d)."""
        return pair_products(torch.stack(encodings))


def pair_products(vectors: Tensor) -> Tensor:
    """(m, B, d) -> (B, d): the sum of the elementwise products of all pairs, in time linear in m."""
    squares: Tensor = vectors.sum(dim=0) ** 2 - (vectors**2).sum(dim=0)
    return squares / 2


class Gated(Fusion):
    r"""Weighted mean of the encodings, with weights that depend on all encodings: (B, d).

    .. math:: \alpha = \mathrm{softmax}_i(W [e_1; e_2; …] + b), \qquad \mathrm{output} = \sum_i \alpha_i \odot e_i

    The weights of a row sum to 1. A title can thus replace an id that training never saw: the title's weight rises and
    the id's weight falls. W and b start at zero, so that the output starts as the plain mean. :class:`SENet` weights
    each feature independently and concatenates the encodings.

    Args:
        input_dims: width d of each encoding; all must be equal.
        per_dimension: whether each of the d components has its own weights; otherwise a whole encoding has one weight.

    Source: after the gated multimodal unit, arXiv 1702.01992.

    Raises:
        UserError: the encodings differ in width.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import Gated
        >>> Gated([2, 2])([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]).detach()  # before training
        tensor([[2., 3.]])
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
        """Return the settings, which ``print(model)`` shows."""
        return f"per_dimension={self.per_dimension}"
