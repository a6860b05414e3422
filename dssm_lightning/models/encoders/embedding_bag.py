"""Bags of ids: the sum or mean of the table rows of a row's ids, and the tables.

The sums of a batch are a sparse matrix (B, V) times the table (V, D). The table's gradient is the transposed matrix
times the gradient of the sums. PyTorch's ``embedding_bag`` computes the sums as fast as memory allows, but its gradient
is slow on the CPU. Here the ids are sorted, and the same kernel sums, for each table row in the batch, the gradients of
the bags with this row. Each row is written once, always in the same order.
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
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_positive
from dssm_lightning.utils.ragged import Column, Prefixes, Ragged
from dssm_lightning.utils.unit_rows import unit_rows


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
        table: (V, D). Its gradient is equal in every run. If processes share its rows, all must have the same bags.
        ids: (T,) int32 or int64 in [0, V).
        offsets: (B + 1,) int64, the start of each bag.
        weights: (T,) of the table's dtype. If they have a gradient, PyTorch's kernel computes both gradients.
        sparse: whether the table's gradient is a sparse tensor of the used rows (for ``SparseAdam`` and similar
            optimizers). This pays off from about 100,000 rows, where writing a dense gradient is most of the cost.

    Returns:
        (B, D) of the table's dtype, also under autocast; an empty bag gives zeros.

    Example:
        >>> table, ids, offsets = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([1, 2, 2]), torch.tensor([0, 2, 3])
        >>> bag_sums(table, ids, offsets, weights=torch.tensor([1.0, 1.0, 0.5])).tolist()
        [[11.0], [5.0]]
    """
    if torch.compiler.is_exporting():  # ONNX would loop over the bags
        entries = F.embedding(ids, table) * weights[:, None]
        return entries.new_zeros(offsets.shape[0] - 1, table.shape[1]).index_add(0, Ragged(ids, offsets).rows, entries)
    if isinstance(table, DTensor):
        return added_up(bag_sums(*own_share(table, ids, offsets, weights)), table)
    if table.device.type == "cpu" and table.requires_grad and not weights.requires_grad:
        sums: Tensor = _BagSums.apply(table, ids, offsets, weights, sparse)
        return sums
    # PyTorch's kernel: for no gradient, for a gradient of the weights, and on a GPU, where it is the faster one
    return _gather(table, ids, offsets, weights, sparse)


class EmbeddingBag(Encoder):
    """Mean or sum of the table rows of a row's ids: words, n-grams, tags, liked candidates.

    A row without ids gives zeros. Events that share a sequence take their sums from the sequence's cumulative sum.

    Args:
        feature: a fitted feature of ragged ids, such as HashedTrigrams or CategoricalList.
        output_dim: width D of the table.
        pooling: "mean" gives short and long rows vectors of equal scale, which later layers and other features need.
            "sum" counts the ids (the DSSM paper's term vector times a matrix). "sqrt" divides the sum by the square
            root of the number of ids, which keeps the variance of a sum of independent vectors.
        sparse: whether the table's gradient is a sparse tensor, see :func:`bag_sums`. The optimizer must support it.
        init_range: initial range of the table, see :func:`id_table`.
        normalize: whether each entry's vector gets the length 1 before the pooling. This computes the whole table in
            every step, so that its gradient is never sparse.

    Raises:
        UserError: the pooling is unknown, the feature has no ids, a width or range is not positive, or ``sparse`` with
            ``normalize``.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import HashedTrigrams
        >>> from dssm_lightning.models.encoders import EmbeddingBag
        >>> feature = HashedTrigrams(name="title", num_buckets=1000)
        >>> EmbeddingBag(feature, output_dim=8)(feature.encode(pl.Series(["the cat", "dogs"]))).shape
        torch.Size([2, 8])
    """

    reads_prefixes: ClassVar[bool] = True

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 128,
        pooling: Literal["mean", "sqrt", "sum"] = "mean",
        sparse: bool = False,
        init_range: float | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if sparse and normalize:
            raise UserError(f"encoder of {feature.name!r}: sparse and normalize exclude each other; leave out one")
        require_choice(f"encoder of {feature.name!r}", "pooling", pooling, tuple(_POWERS))
        self.table = entry_table(feature, output_dim, sparse=sparse, init_range=init_range)
        self.output_dim = output_dim
        self.pooling, self.normalize = pooling, normalize

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows, or Prefixes of B events -> (B, D)."""
        if isinstance(column, Prefixes):
            entries = padded_entries(self.table, column.sequences)  # (S, L, D)
            if self.normalize:
                entries = unit_rows(entries)
            sums = F.pad(entries.cumsum(dim=1), (0, 0, 1, 0))  # (S, 1 + L, D)
            weight = column.length.clamp(min=1).to(sums.dtype) ** _POWERS[self.pooling]  # (B,)
            return sums[column.sequence, column.length] * weight[:, None]
        assert isinstance(column, Ragged)
        table, sparse = entry_vectors(self.table, column)
        if self.normalize:
            table = unit_rows(table)
        weight = column.lengths.clamp(min=1).to(table.dtype) ** _POWERS[self.pooling]  # (B,)
        return bag_sums(table, column.values, column.offsets, column.of_rows(weight), sparse=sparse)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"pooling={self.pooling!r}"


_POWERS = {"mean": -1.0, "sqrt": -0.5, "sum": 0.0}  # a sum is multiplied by this power of the number of ids


def entry_table(
    feature: Feature, output_dim: int, *, sparse: bool = False, init_range: float | None = None
) -> nn.Embedding | None:
    """Make a table by :func:`id_table`, or None for a history of whole candidates, which brings their embeddings."""
    if isinstance(feature, History) and feature.of_candidates:
        return None
    return id_table(feature, output_dim, sparse=sparse, init_range=init_range)


def entry_vectors(table: nn.Embedding | None, column: Ragged) -> tuple[Tensor, bool]:
    """(V, D) the vectors that a column's values index, and whether their gradient is sparse."""
    if table is not None:
        return table.weight, table.sparse
    assert isinstance(column.items, Tensor), "TwoTower embeds the candidates of a history"
    return column.items, False


def padded_entries(table: nn.Embedding | None, sequences: Ragged) -> Tensor:
    """(S, L, D) vectors of the entries, with zeros after a sequence's end."""
    lengths = sequences.lengths
    steps = torch.arange(sequences.longest, device=lengths.device)
    real = steps < lengths[:, None]  # (S, L)
    vectors, _ = entry_vectors(table, sequences)
    entries = F.embedding(sequences.values, vectors) if table is None else table(sequences.values)
    if torch.compiler.is_exporting():  # ONNX has no masked_scatter: gather, with one row of zeros for all padding
        places = torch.where(real, sequences.offsets[:-1, None] + steps, sequences.values.shape[0])
        return F.embedding(places, F.pad(entries, (0, 0, 0, 1)))
    return entries.new_zeros((*real.shape, entries.shape[1])).masked_scatter(real[..., None], entries)


class Table(nn.Embedding):
    """Embedding table. If ``RowwiseParallel`` divides the rows among processes, each process looks up its own rows."""

    def forward(self, input: Tensor) -> Tensor:
        """(…) -> (…, D)."""
        if not isinstance(self.weight, DTensor):
            return super().forward(input)
        assert isinstance(input, DTensor), "RowwiseParallel's hook makes it a DTensor, and adds up the results"
        ids = input.to_local()
        each = torch.arange(ids.numel() + 1, device=ids.device)  # offsets of bags with one id
        ones = torch.ones(ids.numel(), dtype=self.weight.dtype, device=ids.device)
        part = bag_sums(*own_share(self.weight, ids.flatten(), each, ones))
        return partial_sums(part.view(*ids.shape, -1), self.weight)


def id_table(
    feature: Feature, output_dim: int, *, sparse: bool = False, init_range: float | None = None
) -> nn.Embedding:
    """Make a table with one row for each id of a feature.

    Initial values are normal with standard deviation 1 / √output_dim, so that a row's mean squared length is 1. With
    ``init_range`` r they are uniform in [−r, r] (Keras has r = 0.05). Row 0, the unknown id, starts as zeros.

    Raises:
        UserError: the feature has no ids, the width is below 1, or the range is not positive.
    """
    cardinality = getattr(feature, "cardinality", None)
    if cardinality is None:
        raise UserError(f"encoder of {feature.name!r}: a {type(feature).__name__} has no ids to look up in a table")
    require_at_least(f"encoder of {feature.name!r}", "output_dim", output_dim)
    require_positive(f"encoder of {feature.name!r}", "init_range", init_range)
    table = Table(cardinality, output_dim, sparse=sparse)
    with torch.no_grad():
        if init_range is None:
            table.weight.normal_(std=output_dim**-0.5)
        else:
            table.weight.uniform_(-init_range, init_range)
        table.weight[0] = 0.0
    return table
