"""From the embeddings of both sides to one loss for each query: score, mark the valid columns, call the loss."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.data.batch import Batch
from dssm_lightning.losses import Loss, Scores
from dssm_lightning.losses.masks import known_pairs, own_columns, valid_columns
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.training.candidate_pool import Pool, gather_pool
from dssm_lightning.training.chunked_loss import RowLosses, weighted
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take


class Rows(NamedTuple):
    """The target, the own negatives and the known positives of each row."""

    target: Tensor  # (Q,) column of the row's candidate
    negatives: Tensor | None  # (Q, n) columns of the row's own negatives, -1 = none; None = every column
    known: Ragged | None  # Q rows: corpus rows of the query's known positives
    label: Tensor | None  # (Q,)

    def part(self, numbers: Tensor | None) -> Rows:
        """Return the rows with the given numbers; None = all rows."""
        if numbers is None:
            return self
        negatives = None if self.negatives is None else take(self.negatives, numbers)
        known = None if self.known is None else take(self.known, numbers)
        label = None if self.label is None else take(self.label, numbers)
        return Rows(take(self.target, numbers), negatives, known, label)


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
    weight: Tensor | None = None,
    counts: NegativeCounts | None = None,
) -> RowLosses:
    """Compute the loss of each row of the batch, and their weighted sum.

    Args:
        batch: targets, own negatives, known positives and labels of the rows.
        query: (B, D) embeddings of the queries.
        pool: the encoded candidates of this process's batch.
        scorer: embeddings -> logits.
        loss: logits -> losses.
        gather: score against the candidates of all processes.
        chunk_size: number of queries to score at once; None = all.
        memory: adds candidates of earlier batches as columns, and keeps this batch's candidates for its next commit.
        weight: (B,) weight of each row in the sum; None = 1 each.
        counts: keeps the numbers of negatives for its next commit.
    """
    target, negatives, own_ids = batch.target, batch.negatives, pool.id
    if gather:
        pool = gather_pool(pool)
    if memory is not None:
        memory.hold(pool)
        pool = memory.extend(pool)
    if pool.id is not own_ids:
        column = torch.searchsorted(pool.id, own_ids)  # (C,) new place of each column of this process
        target = column[target]
        negatives = None if negatives is None else torch.where(negatives < 0, -1, column[negatives])
    rows = Rows(target, negatives, batch.known, batch.label)
    weight = torch.ones_like(query[:, 0]) if weight is None else weight
    trained = [parameter for part in (scorer, loss) for parameter in part.parameters() if parameter.requires_grad]
    by_query = partial(query_to_candidate_loss, rows, pool, scorer, loss, counts=counts)
    one = weighted(by_query, query, pool.embedding, weight, trained, chunk_size)
    if not loss.symmetric:
        return one
    queries = distributed.gather_rows(query) if gather else query  # (P, D)
    own = F.embedding(target, pool.embedding)  # (Q, D)
    by_candidate = partial(candidate_to_query_loss, transposed(rows, pool.id, gather), scorer, loss)
    other = weighted(by_candidate, own, queries, weight, trained, chunk_size)
    return RowLosses((one.value + other.value) / 2, one.compared | other.compared, (one.total + other.total) / 2)


def describe_negatives(batch: Batch, cross_device: bool, memory: Memory | None = None, rows: int = 256) -> str:
    """Describe how many negatives a query has, for the log.

    Args:
        batch: the first batch of a fit, in this process.
        cross_device: whether the candidates of all processes are negatives.
        memory: whose candidates are negatives, too.
        rows: number of rows to average over.
    """
    ids, processes = batch.candidates.id, distributed.world_size()
    every = torch.unique(distributed.gather_rows(ids)) if cross_device else ids
    if memory is not None:
        every = torch.unique(torch.cat([every, memory.ids]))
    column = torch.searchsorted(every, ids)
    first = torch.arange(min(rows, len(batch.target)), device=ids.device)
    negatives = None if batch.negatives is None else batch.negatives[first]
    if negatives is not None:
        negatives = torch.where(negatives < 0, -1, column[negatives])
    known = None if batch.known is None else take(batch.known, first)
    valid = valid_columns(column[batch.target[first]], negatives, known, every)  # (rows, C)
    mean = valid.sum(1).float().mean().item() - 1
    source = ""
    if processes > 1:
        source = f", from all {processes} processes" if cross_device else f", from one of {processes} processes"
    return f"a query has {mean:,.1f} negatives on average in the first batch{source}"


def query_to_candidate_loss(
    rows: Rows,
    pool: Pool,
    scorer: Scorer,
    loss: Loss,
    numbers: Tensor | None,
    query: Tensor,
    embedding: Tensor,
    counts: NegativeCounts | None = None,
) -> tuple[Tensor, Tensor]:
    """Return losses (Q,) and ``compared`` (Q,) of the numbered rows: their queries (Q, D) against candidates (C, D)."""
    target, negatives, known, label = rows.part(numbers)
    valid = valid_columns(target, negatives, known, pool.id)  # (Q, C)
    if negatives is None:
        scores = Scores(scorer(query, embedding), target, valid, pool.count, pool.log_q, label)
        offered: Tensor | int = valid.numel()
    else:  # no other column counts: score (Q, 1 + n) pairs instead of (Q, C)
        columns, new = own_columns(target, negatives)
        logits = scorer.pairs(query, embedding, columns)
        valid = valid.gather(1, columns) & new
        first = torch.zeros_like(target)
        scores = Scores(logits, first, valid, pool.count[columns], pool.log_q[columns], label)
        offered = new.sum()
    return _evaluate(loss, scores, counts, offered - len(target))


def _evaluate(
    loss: Loss, scores: Scores, counts: NegativeCounts | None = None, offered: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    _check_shape("the scorer's logits", scores.logits, scores.valid.shape)
    negatives = scores.num_negatives
    if counts is not None:
        counts.hold(negatives, offered)
    value, compared = loss(scores), negatives > 0
    _check_shape(f"the value of loss {type(loss).__name__}", value, scores.target.shape)
    return value * compared if loss.compares else value, compared


def _check_shape(name: str, found: Any, shape: torch.Size) -> None:
    """Refuse anything but real numbers of one shape: other shapes would be expanded without a word."""
    if not isinstance(found, Tensor):
        raise UserError(f"{name} is {type(found).__name__}; it must be a tensor of shape {tuple(shape)}")
    if found.shape != shape or not found.is_floating_point():
        raise UserError(
            f"{name} has shape {tuple(found.shape)} and type {found.dtype}; it must have shape {tuple(shape)}, one "
            f"floating-point number for each {'query' if len(shape) == 1 else 'query and candidate'}"
        )


class Transposed(NamedTuple):
    """The problem with the sides exchanged: the candidate of each row against the queries of all processes.

    A query is a valid negative of a candidate if and only if the candidate is a valid negative of the query. Queries
    that own the same candidate are never negatives of it.
    """

    target: Tensor  # (Q,) column of the row's candidate
    own: Tensor  # (Q,) number of the row's query among the queries of all processes
    never: Ragged  # C rows: the queries that like a column, as their own or a known positive
    only: Ragged | None  # C rows: the only queries that are valid for a column; None = every query
    label: Tensor | None  # (Q,)

    def valid(self, numbers: Tensor | None, num_queries: int) -> tuple[Tensor, Tensor]:
        """Return the valid queries (Q, P) bool for the candidate of each numbered row, and its own query (Q,)."""
        target, own = (self.target, self.own) if numbers is None else (self.target[numbers], self.own[numbers])
        valid = torch.full((len(target), num_queries), self.only is None, device=target.device)
        if self.only is not None:
            only = take(self.only, target)
            valid[only.rows, only.values] = True
        never = take(self.never, target)
        valid[never.rows, never.values] = False
        return valid.scatter_(1, own[:, None], True), own


def transposed(rows: Rows, ids: Tensor, gather: bool) -> Transposed:
    """Exchange the sides of rows whose columns have these ids (C,)."""
    own = torch.arange(len(rows.target), device=ids.device)
    if gather:
        own = own + distributed.rows_before(own)
    never = [torch.stack([own, rows.target])]
    if rows.known is not None:
        row, column = known_pairs(rows.known, ids)
        never.append(torch.stack([own[row], column]))
    only = None
    if rows.negatives is not None:
        row, place = (rows.negatives >= 0).nonzero(as_tuple=True)
        only = _by_column(torch.stack([own[row], rows.negatives[row, place]]), len(ids), gather)
    return Transposed(rows.target, own, _by_column(torch.cat(never, 1), len(ids), gather), only, rows.label)


def _by_column(pairs: Tensor, num_columns: int, gather: bool) -> Ragged:
    """Turn (query, column) pairs (2, n) of this process into the queries of each column, of all processes."""
    query, column = (distributed.gather_rows(pairs.T) if gather else pairs.T).unbind(1)
    return Ragged.from_lengths(query[column.argsort()], torch.bincount(column, minlength=num_columns))


def candidate_to_query_loss(
    problem: Transposed, scorer: Scorer, loss: Loss, numbers: Tensor | None, candidate: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Return losses (Q,) and ``compared`` (Q,) of the numbered rows: their candidates (Q, D) against queries (P, D).

    Every query is one column, without a correction of its frequency.
    """
    valid, own = problem.valid(numbers, len(queries))  # (Q, P)
    logits = scorer(queries, candidate).T  # the scorer's first argument is always the query
    ones = torch.ones(len(queries), device=own.device)
    label = problem.label if problem.label is None or numbers is None else problem.label[numbers]
    return _evaluate(loss, Scores(logits, own, valid, ones, torch.full_like(ones, -torch.inf), label))
