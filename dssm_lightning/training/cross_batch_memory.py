"""Cross-batch memory: candidate embeddings of earlier batches as additional columns of the current batch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from dssm_lightning.data.negatives import NegativeSampler
from dssm_lightning.losses import Loss
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.utils.errors import UserError, require_whole


class Memory(nn.Module):
    """The newest M candidate embeddings of training, without gradient: negatives that need no forward pass.

    Embeddings change slowly, so those of recent batches are close to what the towers would compute now. The memory adds
    no candidate that the batch itself holds, and keeps only the newest embedding of each candidate: the columns stay
    distinct. Known positives of a query are masked as in every batch. The memory holds whole batches; until it is full,
    there are fewer columns.

    The ``log_q`` of each column says how often the batch *and* the memory propose it. With K batches in the memory this
    is 1 + K times as often as one batch, so log(1 + K) is added to all columns. The probability that a column is
    present is then correct; ``SampledSoftmax`` uses it for ``"inclusion"`` and ``"refined"``. A column of the memory
    has count 0, because no row of this batch owns it, and so weighs as one proposal for ``"count"`` and
    ``"count_log_q"``: the memory does not keep how often earlier batches proposed a candidate.

    Embeddings, ids and log_q are buffers, and are part of the checkpoint: a resumed run has the same columns as the
    uninterrupted run. Every process holds the same memory, with the candidates of all processes.

    Args:
        size: M, the number of embeddings; at least the number of candidates in a batch of all processes.
        width: D, the width of a candidate's embedding.

    Source: Wang et al., arXiv 1912.06798 (cross-batch memory). He et al., arXiv 1911.05722 (MoCo), also encode the
    kept candidates with a slower tower.

    Raises:
        UserError: ``size`` is below 1; in ``hold``, a batch has more than M candidates.

    Example:
        >>> import torch
        >>> from dssm_lightning.training.candidate_pool import Pool
        >>> from dssm_lightning.training.cross_batch_memory import Memory
        >>> memory = Memory(size=4, width=2)
        >>> memory.hold(Pool(torch.eye(2), torch.tensor([3, 8]), torch.ones(2), torch.zeros(2)))
        >>> memory.commit()
        >>> memory.extend(Pool(torch.eye(2), torch.tensor([5, 8]), torch.ones(2), torch.zeros(2))).id
        tensor([3, 5, 8])
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        require_whole("model", "memory_size", size, hint="leave it out for no memory")
        self.size = size
        try:
            self.register_buffer("embedding", torch.zeros(size, width))
        except RuntimeError as error:
            raise UserError(f"memory_size is {size:,}, and {size:,} embeddings do not fit into memory") from error
        self.register_buffer("id", torch.full((size,), -1))  # -1 = empty
        self.register_buffer("log_q", torch.zeros(size))
        self.register_buffer("batch", torch.zeros(size, dtype=torch.int64))  # number of the batch, from 1; 0 = empty
        self.register_buffer("written", torch.tensor([0]))  # embeddings so far: the next place is written mod M
        self.register_buffer("newest", torch.tensor([0]))  # batches so far
        self.register_buffer("lost", torch.tensor([0]))  # the newest batch that is partly overwritten
        self._held: list[Pool] = []

    def hold(self, pool: Pool) -> None:
        """Keep the candidates of a batch of all processes until :meth:`commit`."""
        if len(pool.id) > self.size:
            raise UserError(
                f"memory_size is {self.size}, but a batch of all processes has {len(pool.id)} candidates: "
                "the memory must hold at least one batch"
            )
        self._held.append(Pool(*(column.detach() for column in pool)))

    def commit(self) -> None:
        """Write the kept batches into the memory."""
        for pool in self._held:
            self._write(pool)
        self._held.clear()

    def _write(self, pool: Pool) -> None:
        embedding, ids, log_q, batch, written, newest, lost = self._columns
        place = (written + torch.arange(len(pool.id), device=ids.device)) % self.size  # (C,)
        ids.masked_fill_(torch.isin(ids, pool.id), -1)  # only the newest embedding of a candidate stays
        lost.copy_(torch.maximum(lost, batch[place].max()))
        written += len(place)
        newest += 1
        embedding[place], ids[place], log_q[place] = pool.embedding.to(embedding.dtype), pool.id, pool.log_q
        batch[place] = newest
        ids.masked_fill_(batch <= lost, -1)

    def extend(self, pool: Pool) -> Pool:
        """Return the candidates of the batch and, without gradient, the other candidates of the memory; ids ascend."""
        embedding, ids, log_q, _, _, newest, lost = self._columns
        added = (ids >= 0) & ~torch.isin(ids, pool.id)  # (M,)
        others = Pool(
            embedding[added].to(pool.embedding.dtype), ids[added], pool.count.new_zeros(int(added.sum())), log_q[added]
        )
        joined = Pool(*(torch.cat(columns) for columns in zip(pool, others, strict=True)))
        order = joined.id.argsort()
        return Pool(*(column[order] for column in joined))._replace(
            log_q=joined.log_q[order] + (newest - lost).float().log1p()  # 1 + K batches propose each column
        )

    @property
    def ids(self) -> Tensor:
        """The ids of the candidates in the memory."""
        ids = self._columns[1]
        return ids[ids >= 0]

    @property
    def _columns(self) -> tuple[Tensor, ...]:
        names = ("embedding", "id", "log_q", "batch", "written", "newest", "lost")
        return tuple(cast(Tensor, getattr(self, name)) for name in names)

    def extra_repr(self) -> str:
        """Return the settings for ``print(model)``."""
        return f"size={self.size}"


def check_use(negatives: NegativeSampler | None, cross_device_negatives: bool, loss: Loss) -> None:
    """Refuse a memory whose columns could not count, or would differ between processes.

    Args:
        negatives: the sampler of the data; None = the batch's own candidates alone.
        cross_device_negatives: whether processes share their candidates.
        loss: what would compare with the columns.

    Raises:
        UserError: each row has its own negatives; ``cross_device_negatives`` is false; a loss of all likes, whose
            queries are the sums of candidates as they are now.
    """
    if negatives is not None and negatives.per_row:
        raise UserError(
            f"memory_size: {type(negatives).__name__} gives each row its own negatives, and only these count, not the "
            "columns of a memory; set per_row: false, or leave memory_size out"
        )
    if not cross_device_negatives:
        raise UserError("memory_size: all processes hold the same memory; set cross_device_negatives: true")
    if loss.uses_likes:
        raise UserError(
            f"memory_size: {type(loss).__name__} learns from all likes of a query, whose embedding is a sum of today's "
            "candidates, not of those of earlier batches; leave memory_size out"
        )
