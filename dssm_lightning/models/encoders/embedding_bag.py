"""Bags of values: the sum or mean of the table rows that a ragged row names.

A batch of bags is a sparse matrix (B, V) times the table (V, D), the table's gradient its transpose times the gradient
of the sums. PyTorch's ``embedding_bag`` multiplies forward as fast as memory allows; backward, on the CPU, its own
gradient is slow and scatters. Here the values are sorted, and the same kernel gathers, for each row of the table that
the batch names, the gradients of the bags that name it: each such row is written once, always in the same order.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.history import History
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.sharded_lookup import added_up, own_share, partial_sums
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Prefixes, Ragged


class _BagSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, offsets: Tensor, weights: Tensor, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids, offsets, weights)
        ctx.num_rows, ctx.sparse = len(table), sparse
        return _gather(table, ids, offsets, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ids, offsets, weights = ctx.saved_tensors
        bags = Ragged(ids, offsets).rows  # (T,)
        ids, order = ids.sort(stable=True)
        used, counts = torch.unique_consecutive(ids, return_counts=True)  # (U,) rows of the table
        ends = F.pad(counts.cumsum(0), (1, 0))
        rows = _gather(gradient.contiguous(), bags[order], ends, weights[order])  # (U, D)
        shape = (ctx.num_rows, gradient.shape[1])
        if ctx.sparse:
            table = torch.sparse_coo_tensor(used[None], rows, shape, is_coalesced=True, check_invariants=False)
        else:
            table = rows.new_zeros(shape).index_copy_(0, used.long(), rows)
        return table, None, None, None, None


def _gather(table: Tensor, ids: Tensor, offsets: Tensor, weights: Tensor | None, sparse: bool = False) -> Tensor:
    return F.embedding_bag(
        ids,
        table,
        offsets.to(ids.dtype),
        mode="sum",
        sparse=sparse,
        per_sample_weights=weights,
        include_last_offset=True,
    )


def bag_sums(table: Tensor, ids: Tensor, offsets: Tensor, weights: Tensor, *, sparse: bool = False) -> Tensor:
    """Weighted sums of table rows, ``out[b] = Σ weights[t] · table[ids[t]]`` over the values t of bag b.

    Args:
        table: (V, D); its gradient is the same in every run. Where ranks share its rows, all must see the same bags.
        ids: (T,) int32 or int64 in [0, V).
        offsets: (B + 1,) int64, where each bag begins.
        weights: (T,) of the table's type; where they have a gradient, PyTorch's own kernel computes both.
        sparse: whether the table's gradient is a sparse tensor of the rows that occur (for ``SparseAdam`` and its like;
            worth it from about 100,000 rows on, where filling a dense gradient costs more than all the rest).

    Returns:
        (B, D) of the table's type, under autocast too; an empty bag gives zeros.
    """
    if isinstance(table, DTensor):
        return added_up(bag_sums(*own_share(table, ids, offsets, weights)), table)
    if table.device.type == "cpu" and table.requires_grad and not weights.requires_grad:
        sums: Tensor = _BagSums.apply(table, ids, offsets, weights, sparse)
        return sums
    # no gradient, one of the weights, or a GPU, where PyTorch's own is the fast one
    return _gather(table, ids, offsets, weights, sparse)


class EmbeddingBag(Encoder):
    """Mean or sum of the table rows that a row's values name: words, n-grams, tags, liked candidates.

    Args:
        feature: a fitted feature of ragged ids, such as HashedTrigrams or CategoricalList.
        output_dim: width D of the table.
        pooling: "mean" gives short and long rows vectors of one scale, which layers after it and other features beside
            it need; "sum" counts (the paper's term vector times a matrix); "sqrt" divides by the root of the number of
            values, which keeps the variance of sums of independent vectors.
        sparse: whether the table's gradient is a sparse tensor, see :func:`bag_sums`; the optimizer must take such.
        init_range: how the table starts, see :func:`id_table`.

    A row without values gives zeros. Events that share a history's sequence are read off its running sums.
    """

    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 128,
        pooling: Literal["mean", "sum", "sqrt"] = "mean",
        sparse: bool = False,
        init_range: float | None = None,
    ) -> None:
        super().__init__()
        if pooling not in _POWERS:
            raise UserError(f"encoder of {feature.name!r}: pooling is {pooling!r}; it can be {', '.join(_POWERS)}")
        self.table = entry_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.pooling = pooling

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        if isinstance(column, Prefixes):
            sums = F.pad(padded_entries(self.table, column.sequences).cumsum(dim=1), (0, 0, 1, 0))  # (S, 1 + L, D)
            weight = column.length.clamp(min=1).to(sums.dtype) ** _POWERS[self.pooling]  # (B,)
            return sums[column.sequence, column.length] * weight[:, None]
        assert isinstance(column, Ragged)
        table, sparse = entry_vectors(self.table, column)
        lengths = column.lengths
        weight = lengths.clamp(min=1).to(table.dtype) ** _POWERS[self.pooling]  # (B,)
        weights = torch.repeat_interleave(weight, lengths, output_size=len(column.values))
        return bag_sums(table, column.values, column.offsets, weights, sparse=sparse)

    def extra_repr(self) -> str:
        """What distinguishes this bag from others."""
        return f"pooling={self.pooling!r}"


_POWERS = {"mean": -1.0, "sqrt": -0.5, "sum": 0.0}


def entry_table(
    feature: Feature, output_dim: int, *, sparse: bool = False, init_range: float | None = None
) -> nn.Embedding | None:
    """:func:`id_table`; None for a history of whole candidates, which come with their vectors."""
    if isinstance(feature, History) and feature.of_candidates:
        return None
    return id_table(feature, output_dim, sparse=sparse, init_range=init_range)


def entry_vectors(table: nn.Embedding | None, column: Ragged) -> tuple[Tensor, bool]:
    """(V, D) what the values of a column number, and whether its gradient is to be sparse."""
    if table is not None:
        return table.weight, table.sparse
    assert isinstance(column.items, Tensor), "TwoTower embeds the candidates of a history"
    return column.items, False


def padded_entries(table: nn.Embedding | None, sequences: Ragged) -> Tensor:
    """(S, L, D) the entries' vectors, zeros after a sequence's end."""
    lengths = sequences.lengths
    real = torch.arange(int(lengths.max()) if len(lengths) else 0, device=lengths.device) < lengths[:, None]  # (S, L)
    vectors, _ = entry_vectors(table, sequences)
    entries = F.embedding(sequences.values, vectors) if table is None else table(sequences.values)
    return entries.new_zeros((*real.shape, entries.shape[1])).masked_scatter(real[..., None], entries)


class Table(nn.Embedding):
    """Rows for ids of any shape. Where ``RowwiseParallel`` has shared it out, a rank adds what it holds of them."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…, D)."""
        if not isinstance(self.weight, DTensor):
            return super().forward(input)
        assert isinstance(input, DTensor), "RowwiseParallel's hook makes it one, and adds up what is returned"
        ids = input.to_local()
        each = torch.arange(ids.numel() + 1, device=ids.device)  # bags of one
        ones = torch.ones(ids.numel(), dtype=self.weight.dtype, device=ids.device)
        part = bag_sums(*own_share(self.weight, ids.flatten(), each, ones))
        return partial_sums(part.view(*ids.shape, -1), self.weight)


def id_table(
    feature: Feature, output_dim: int, *, sparse: bool = False, init_range: float | None = None
) -> nn.Embedding:
    """A table of one row for each id of a feature.

    It starts normally distributed with standard deviation 1 / √output_dim, so that a row has length 1 on average, or,
    with ``init_range`` r, uniformly in [−r, r] (Keras starts with 0.05). Row 0, the unknown, starts as zeros.

    Raises:
        ValueError: the feature has no ids, the width is below 1, or the range is not positive.
    """
    cardinality = getattr(feature, "cardinality", None)
    if cardinality is None:
        raise UserError(f"encoder of {feature.name!r}: a {type(feature).__name__} has no ids to look up in a table")
    if output_dim < 1:
        raise UserError(f"encoder of {feature.name!r}: output_dim is {output_dim}; it must be at least 1")
    if init_range is not None and not init_range > 0:
        raise UserError(f"encoder of {feature.name!r}: init_range is {init_range}; it must be above 0")
    table = Table(cardinality, output_dim, sparse=sparse)
    with torch.no_grad():
        if init_range is None:
            table.weight.normal_(std=output_dim**-0.5)
        else:
            table.weight.uniform_(-init_range, init_range)
        table.weight[0] = 0.0
    return table
