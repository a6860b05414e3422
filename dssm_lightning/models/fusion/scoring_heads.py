"""Fusions whose output is the embedding: the dot product of both sides is a sum over parallel branches or pairs."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.models.fusion.base import Fusion, FusionFactory
from dssm_lightning.models.fusion.interactions import pair_products
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice

Side = Literal["query", "candidate"]


class Parallel(Fusion):
    r"""Apply several fusions to the same encodings and concatenate their outputs: parallel towers.

    The dot product of two embeddings is the sum of the branches' dot products, so that one index serves all branches,
    if both sides have the same branches in the same order, the tower has no layers after the fusion (neither
    ``hidden_dims`` nor ``output_dim``), and ``normalize: false``:

    .. code-block:: yaml

        fusion:
          class_path: Parallel
          init_args:
            branch_dim: 32
            branches:
            - {class_path: MLP, init_args: {hidden_dims: [64]}}
            - {class_path: Cross, init_args: {num_layers: 2}}
            - FM

    With ``normalize: true`` the score is the cosine of the concatenations: the sum of the dot products divided by the
    lengths of both concatenations. A branch with longer vectors counts more. The score is not the sum of the branches'
    cosines.

    Args:
        input_dims: width of each encoding.
        branches: functions input_dims -> fusion, one for each branch.
        branch_dim: width of each branch after a linear layer without bias; None = no layer. The layer is necessary if
            the width of a branch depends on the features (``Concat``, ``Cross``, ``SENet``) and the sides' features
            differ in number or width.

    Raises:
        UserError: there is no branch, or ``branch_dim`` is below 1.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import FM, Concat, Parallel
        >>> Parallel([2, 2], branches=[Concat, FM])([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])])
        tensor([[1., 2., 3., 4., 3., 8.]])
    """

    def __init__(self, input_dims: list[int], branches: list[FusionFactory], branch_dim: int | None = None) -> None:
        super().__init__(input_dims)
        if not branches:
            raise UserError("Parallel: branches is []; name at least one fusion")
        require_at_least("Parallel", "branch_dim", branch_dim)
        fusions = [branch(self.input_dims) for branch in branches]
        self.branches = nn.ModuleList(fusions)
        self.outputs = nn.ModuleList(
            nn.Identity() if branch_dim is None else nn.Linear(fusion.output_dim, branch_dim, bias=False)
            for fusion in fusions
        )
        self.output_dim = sum(fusion.output_dim if branch_dim is None else branch_dim for fusion in fusions)

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, d_1), (B, d_2), …] -> (B, output_dim)."""
        pairs = zip(self.branches, self.outputs, strict=True)
        return torch.cat([output(branch(encodings)) for branch, output in pairs], dim=-1)


class FMScore(Fusion):
    r"""One side of a factorisation machine over the features of both sides; the dot product of both sides is its score.

    An encoding holds a feature's linear weight :math:`w_i` (the first component) and its factors :math:`v_i` (the other
    components). The factorisation machine over the features of query and candidate is

    .. math:: s = b + \sum_i w_i + \sum_{i<j} \langle v_i, v_j \rangle

    A pair of features is within the query, within the candidate, or across both sides. The pairs across both sides add
    up to :math:`\langle \sum_q v, \sum_c v \rangle`. Let :math:`o` be the sum of a side's linear weights, its own pairs
    and a bias. Then the query is :math:`[\sum v, o, 1]`, the candidate is :math:`[\sum v, 1, o]`, and :math:`s` is the
    dot product of both. The query's :math:`o` is the same for every candidate. It changes no ranking, but it is a part
    of the log-odds in ``BinaryCrossEntropy``.

    .. code-block:: yaml

        query_tower:
          class_path: Tower
          init_args:
            fusion: {class_path: FMScore, init_args: {side: query}}
            encoders: {user_id: {class_path: Embedding, init_args: {output_dim: 33}}}  # one weight and 32 factors
            normalize: false
        scorer: Dot

    The candidate tower is configured in the same way, with ``side: candidate``. Both towers must have encoders of equal
    width, and neither hidden layers, output layer nor ``bias``. A feature of several values is one field, encoded by
    its bag's mean or sum: pairs of its own values are not counted.

    Args:
        input_dims: width 1 + d of each encoding; all must be equal.
        side: the tower that has this fusion, ``"query"`` or ``"candidate"``.

    Source: Rendle, ICDM 2010, doi 10.1109/ICDM.2010.127. :class:`FM` does not sum the components of the pairs, so that
    layers can follow.

    Raises:
        UserError: the encodings differ in width or have no factors, or the side is unknown.

    Example:
        >>> import torch
        >>> from dssm_lightning.models.fusion import FMScore
        >>> FMScore([3], "query")([torch.tensor([[0.5, 1.0, 2.0]])]).detach()  # [factors, own part, 1]
        tensor([[1.0000, 2.0000, 0.5000, 1.0000]])
    """

    def __init__(self, input_dims: list[int], side: Side) -> None:
        super().__init__(input_dims)
        require_choice("FMScore", "side", side, get_args(Side))
        if self._one_width() < 2:
            raise UserError(
                "FMScore: the encodings have width 1; they need a linear weight and at least one factor: give the "
                "encoders an output_dim of 2 or more"
            )
        self.side = side
        self.bias = nn.Parameter(torch.zeros(1))  # (1,): FSDP cannot shard scalars
        self.output_dim = self.input_dims[0] + 1

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, 1 + d), (B, 1 + d), …] -> (B, d + 2)."""
        fields = torch.stack(encodings)  # (m, B, 1 + d)
        factors = fields[..., 1:]  # (m, B, d)
        own = self.bias + fields[..., 0].sum(dim=0) + pair_products(factors).sum(dim=-1)  # (B,)
        one = torch.ones_like(own)
        last = [own, one] if self.side == "query" else [one, own]
        return torch.cat([factors.sum(dim=0), torch.stack(last, dim=-1)], dim=-1)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"side={self.side!r}"
