"""A memory of candidate embeddings: what earlier batches were scored against, kept as further columns of this one."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.utils.errors import UserError


class Memory(nn.Module):
    """The last so many candidate embeddings that training scored, without gradient: negatives that cost a product.

    As embeddings change slowly, those of some batches ago are nearly what the towers would give now. A candidate of the
    batch itself is never taken from the memory, and of one that several batches held the newest embedding stands: the
    columns stay distinct. What a query is known to like is no negative of it, as always. The memory holds whole
    batches; until it is full, there are fewer columns.

    Each column's ``log_q`` says how often batch *and* memory propose it: with K batches in the memory 1 + K times as
    often as a batch, so that log(1 + K) is added to the batch's own columns as to the memory's. With this, the
    probability that a column is there, which ``SampledSoftmax`` takes for ``"inclusion"`` and ``"refined"``, is right.
    A column of the memory has count 0, as no row of this batch owns it, and so weighs as one proposal in ``"count"``
    and ``"count_log_q"``: how often the batches before proposed it is not kept.

    Embeddings, ids and log_q are buffers, and lie in the checkpoint: a resumed run is scored against what the
    uninterrupted one was. Every rank holds the same, the candidates of all.

    Args:
        size: M, how many embeddings; at least as many as a batch (of all ranks) has candidates.
        width: D, of a candidate's embedding.

    Source: Wang et al., arXiv 1912.06798 (cross-batch memory); He et al., arXiv 1911.05722 (MoCo), has in addition a
    slower tower for what is kept.

    Raises:
        ValueError: a size below 1; in ``hold``, a batch with more candidates.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"memory_size is {size}; it must be at least 1 (leave it out for no memory)")
        self.size = size
        self.register_buffer("embedding", torch.zeros(size, width))
        self.register_buffer("id", torch.full((size,), -1))  # -1 where there is none
        self.register_buffer("log_q", torch.zeros(size))
        self.register_buffer("batch", torch.zeros(size, dtype=torch.int64))  # which wrote here, from 1; 0 = none yet
        self.register_buffer("written", torch.tensor([0]))  # embeddings so far: the next goes to place written mod M
        self.register_buffer("newest", torch.tensor([0]))  # batches so far
        self.register_buffer("lost", torch.tensor([0]))  # the newest batch that is not held as a whole
        self._held: list[Pool] = []

    def hold(self, pool: Pool) -> None:
        """Keep the candidates of all ranks that a batch is scored against until :meth:`commit`."""
        if len(pool.id) > self.size:
            raise UserError(
                f"memory_size is {self.size}, but a batch of all ranks has {len(pool.id)} candidates: "
                "it must hold one batch at least"
            )
        self._held.append(Pool(*(column.detach() for column in pool)))

    def commit(self) -> None:
        """Take in what is held."""
        for pool in self._held:
            self._take_in(pool)
        self._held.clear()

    def _take_in(self, pool: Pool) -> None:
        embedding, ids, log_q, batch, written, newest, lost = self._columns
        place = (written + torch.arange(len(pool.id), device=ids.device)) % self.size  # (C,)
        ids.masked_fill_(torch.isin(ids, pool.id), -1)  # the newest embedding of a candidate stands
        lost.copy_(torch.maximum(lost, batch[place].max()))
        written += len(place)
        newest += 1
        embedding[place], ids[place], log_q[place] = pool.embedding.to(embedding.dtype), pool.id, pool.log_q
        batch[place] = newest
        ids.masked_fill_(batch <= lost, -1)

    def extend(self, pool: Pool) -> Pool:
        """The batch's candidates and, without gradient, the memory's others; ids ascend."""
        embedding, ids, log_q, _, _, newest, lost = self._columns
        there = (ids >= 0) & ~torch.isin(ids, pool.id)  # (M,)
        others = Pool(
            embedding[there].to(pool.embedding.dtype), ids[there], pool.count.new_zeros(int(there.sum())), log_q[there]
        )
        joined = Pool(*(torch.cat(columns) for columns in zip(pool, others, strict=True)))
        order = joined.id.argsort()
        return Pool(*(column[order] for column in joined))._replace(
            log_q=joined.log_q[order] + (newest - lost).float().log1p()  # 1 + K batches propose each column
        )

    @property
    def ids(self) -> Tensor:
        """The candidates that it holds."""
        ids = self._columns[1]
        return ids[ids >= 0]

    @property
    def _columns(self) -> tuple[Tensor, ...]:
        names = ("embedding", "id", "log_q", "batch", "written", "newest", "lost")
        return tuple(cast(Tensor, getattr(self, name)) for name in names)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"size={self.size}"


def check_use(own: str | None, cross_device_negatives: bool) -> None:
    """Refuse a memory whose columns could not count, or would differ between ranks.

    Args:
        own: the sampler that gives each row its own negatives, if one does.
        cross_device_negatives: whether ranks share their candidates.

    Raises:
        ValueError: as said.
    """
    if own is not None:
        raise UserError(
            f"memory_size: {own} gives each row its own negatives, and only they count, not what a memory adds; "
            "set per_row: false, or leave memory_size out"
        )
    if not cross_device_negatives:
        raise UserError("memory_size: all ranks hold one memory; set cross_device_negatives: true")
