"""From the embeddings of both sides to one loss for each query: score, mark what is valid, call the loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dssm_lightning import distributed
from dssm_lightning.batch import Batch, Ragged, take
from dssm_lightning.distributed import Pool
from dssm_lightning.losses import Loss, Scores
from dssm_lightning.losses.valid import own_columns, valid_columns
from dssm_lightning.memory import Memory
from dssm_lightning.scorers import Scorer


class Rows(NamedTuple):
    """What each query brings to its loss."""

    query: Tensor  # (Q, D)
    target: Tensor  # (Q,)
    negatives: Tensor | None  # (Q, n)
    known: Ragged | None
    label: Tensor | None  # (Q,)

    def part(self, rows: Tensor) -> Rows:
        """The given rows."""
        return Rows(*(None if column is None else take(column, rows) for column in self))  # type: ignore[arg-type]  # field by field


class RowLosses(NamedTuple):
    """What a loss makes of each row."""

    value: Tensor  # (B,)
    compared: Tensor  # (B,) bool: whether the row has any valid negative


def per_query_loss(
    batch: Batch,
    query: Tensor,
    pool: Pool,
    scorer: Scorer,
    loss: Loss,
    *,
    gather: bool,
    chunk_size: int | None,
    memory: Memory | None = None,
) -> RowLosses:
    """The loss of each row of the batch.

    Args:
        batch: what the rows are.
        query: (B, D) their embeddings.
        pool: the batch's own candidates, embedded.
        scorer: embeddings -> logits.
        loss: logits -> losses.
        gather: score against every rank's candidates.
        chunk_size: score so many queries at once, and again in the backward pass; None = all.
        memory: what earlier batches were scored against: further columns. It is to take in this batch's.
    """
    target, negatives, own_ids = batch.target, batch.negatives, pool.id
    if gather:
        pool = distributed.gather_pool(pool)
    if memory is not None:
        memory.hold(pool)
        pool = memory.extend(pool)
    if pool.id is not own_ids:
        column = torch.searchsorted(pool.id, own_ids)  # (C,) where this rank's columns are now
        target = column[target]
        negatives = None if negatives is None else torch.where(negatives < 0, -1, column[negatives])
    rows = Rows(query, target, negatives, batch.known, batch.label)
    losses = _in_chunks(rows, pool, scorer, loss, chunk_size)
    if not loss.symmetric:
        return losses
    back = _transposed(rows, pool, scorer, loss, gather)
    return RowLosses((losses.value + back.value) / 2, losses.compared | back.compared)


def _in_chunks(rows: Rows, pool: Pool, scorer: Scorer, loss: Loss, chunk_size: int | None) -> RowLosses:
    total = len(rows.query)
    if chunk_size is None or total <= chunk_size:
        return _losses(rows, pool, scorer, loss)
    parts = [
        checkpoint(_losses, rows.part(numbers), pool, scorer, loss, use_reentrant=False)
        for numbers in torch.split(torch.arange(total, device=rows.target.device), chunk_size)
    ]
    return RowLosses(*map(torch.cat, zip(*parts, strict=True)))


def _losses(rows: Rows, pool: Pool, scorer: Scorer, loss: Loss) -> RowLosses:
    valid = valid_columns(rows.target, rows.negatives, rows.known, pool.id)  # (Q, C)
    if rows.negatives is None:
        logits = scorer(rows.query, pool.embedding)
        scores = Scores(logits, rows.target, valid, pool.count, pool.log_q, rows.label)
    else:  # no other column counts: score (Q, 1 + n) pairs in place of (Q, C)
        columns, new = own_columns(rows.target, rows.negatives)
        logits = scorer.pairs(rows.query, pool.embedding, columns)
        first = torch.zeros_like(rows.target)
        valid = valid.gather(1, columns) & new
        scores = Scores(logits, first, valid, pool.count[columns], pool.log_q[columns], rows.label)
    return RowLosses(loss(scores), scores.has_negative)


def _transposed(rows: Rows, pool: Pool, scorer: Scorer, loss: Loss, gather: bool) -> RowLosses:
    """The same loss with the sides changed over: each row's candidate against every row's query.

    A query may count against a candidate exactly if the candidate may count against the query; rows that own the same
    candidate never do. Queries are scored as they come: each once, with no correction of their frequency.
    """
    valid = valid_columns(rows.target, rows.negatives, rows.known, pool.id)  # (Q, C)
    valid = valid.scatter(1, rows.target[:, None], False)  # as a column, an own candidate is no negative
    queries = distributed.gather_rows(rows.query) if gather else rows.query  # (P, D)
    valid = (distributed.gather_rows(valid.byte()).bool() if gather else valid)[:, rows.target].T  # (Q, P)
    first = distributed.rows_before(rows.query) if gather else 0
    own = torch.arange(len(rows.query), device=rows.target.device) + first
    valid = valid.scatter(1, own[:, None], True)
    logits = scorer(queries, pool.embedding[rows.target]).T  # (Q, P): the scorer's sides stay as they are
    ones = torch.ones(len(queries), device=own.device)
    uncorrected = torch.full_like(ones, -torch.inf)
    scores = Scores(logits, own, valid, ones, uncorrected, rows.label)
    return RowLosses(loss(scores), scores.has_negative)
