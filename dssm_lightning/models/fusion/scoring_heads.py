"""Fusions whose output is made to be an embedding: what the dot product of both sides then adds up."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dssm_lightning.models.fusion.base import Fusion, FusionFactory
from dssm_lightning.models.fusion.interactions import pair_products
from dssm_lightning.utils.errors import UserError

Side = Literal["query", "candidate"]


class Parallel(Fusion):
    r"""Several fusions of the same encodings, their outputs side by side: parallel towers.

    Where the tower has no layers after it (neither ``hidden_dims`` nor ``output_dim``) and ``normalize: false``, and
    both sides name the same branches in the same order, the dot product of two embeddings is the sum of the branches'
    dot products, so that one index serves them all:

    .. code-block:: yaml

        fusion:
          class_path: Parallel
          init_args:
            branch_dim: 32
            branches:
            - {class_path: MLP, init_args: {hidden_dims: [64]}}
            - {class_path: Cross, init_args: {num_layers: 2}}
            - FM

    With ``normalize: true`` the score is the cosine of the whole: the sum of the dot products divided by the lengths
    of both concatenations, in which a branch counts by how long its vectors are. It is not the sum of the branches'
    cosines.

    Args:
        input_dims: width of each encoding.
        branches: input_dims -> fusion, each.
        branch_dim: a linear layer without bias brings each branch to this width; None = each as it is. Sides whose
            features differ in number or width need it where a branch's width depends on them (``Concat``, ``Cross``,
            ``SENet``).

    Raises:
        ValueError: no branch, or a ``branch_dim`` below 1.
    """

    def __init__(self, input_dims: list[int], branches: list[FusionFactory], branch_dim: int | None = None) -> None:
        super().__init__(input_dims)
        if not branches:
            raise UserError("Parallel: branches is empty; name at least one fusion")
        if branch_dim is not None and branch_dim < 1:
            raise UserError(f"Parallel: branch_dim is {branch_dim}; it must be at least 1")
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
    r"""One side of a factorisation machine over the features of both: a dot product of two of these is its score.

    An encoding is a feature's linear weight :math:`w_i`, its first component, and its factors :math:`v_i`, the others.
    The machine over the features of query and candidate together is

    .. math:: s = b + \sum_i w_i + \sum_{i<j} \langle v_i, v_j \rangle

    A pair lies within the query, within the candidate, or across both, and those across add up to
    :math:`\langle \sum_q v, \sum_c v \rangle`. With :math:`o`, all that a side has by itself (its linear weights, the
    pairs within it, and a bias), the query is :math:`[\sum v, o, 1]`, the candidate :math:`[\sum v, 1, o]`, and
    :math:`s` their dot product. The query's own part is the same for every candidate: it changes no ranking, but
    belongs to the score that ``BinaryCrossEntropy`` reads as log-odds.

    .. code-block:: yaml

        query_tower:
          class_path: Tower
          init_args:
            fusion: {class_path: FMScore, init_args: {side: query}}
            encoders: {user_id: {class_path: Embedding, init_args: {output_dim: 33}}}  # one weight and 32 factors
            normalize: false
        scorer: Dot

    likewise for the candidate, without hidden layers, output layer or ``bias``, and with encoders of one width on both
    sides. A feature of several values is one field, encoded by its bag's mean or sum: pairs of its own values are not
    counted.

    Args:
        input_dims: width 1 + d of each encoding, all alike.
        side: which tower this is in.

    Source: Rendle, ICDM 2010, doi 10.1109/ICDM.2010.127. :class:`FM` keeps the pairs' components apart, for layers.

    Raises:
        ValueError: encodings of different widths or without factors; an unknown side.
    """

    def __init__(self, input_dims: list[int], side: Side) -> None:
        super().__init__(input_dims)
        if side not in get_args(Side):
            raise UserError(f"FMScore: side is {side!r}; possible: {', '.join(get_args(Side))}")
        if self._one_width() < 2:
            raise UserError(
                "FMScore: the encodings are 1 wide; they need a linear weight and at least one factor: give the "
                "encoders an output_dim of 2 or more"
            )
        self.side = side
        self.bias = nn.Parameter(torch.zeros(1))  # (1,): FSDP refuses to shard scalars
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
        """What ``print(model)`` shows."""
        return f"side={self.side!r}"
