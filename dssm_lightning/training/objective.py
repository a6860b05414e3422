"""From the embeddings of both sides to one loss for each query: score, mark what is valid, call the loss."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

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
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Ragged, take


class Rows(NamedTuple):
    """What each row says of the columns."""

    target: Tensor  # (Q,)
    negatives: Tensor | None  # (Q, n)
    known: Ragged | None
    label: Tensor | None  # (Q,)

    def part(self, numbers: Tensor | None) -> Rows:
        """The given rows; None = all."""
        if numbers is None:
            return self
        return Rows(*(None if column is None else take(column, numbers) for column in self))  # type: ignore[arg-type]  # field by field


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
) -> RowLosses:
    """The loss of each row of the batch.

    Args:
        batch: what the rows are.
        query: (B, D) their embeddings.
        pool: the batch's own candidates, embedded.
        scorer: embeddings -> logits.
        loss: logits -> losses.
        gather: score against every rank's candidates.
        chunk_size: score so many queries at once; None = all.
        memory: what earlier batches were scored against: further columns. It is to take in this batch's.
        weight: (B,) of each row in the total; None = all 1.
    """
    target, negatives, own_ids = batch.target, batch.negatives, pool.id
    if gather:
        pool = gather_pool(pool)
    if memory is not None:
        memory.hold(pool)
        pool = memory.extend(pool)
    if pool.id is not own_ids:
        column = torch.searchsorted(pool.id, own_ids)  # (C,) where this rank's columns are now
        target = column[target]
        negatives = None if negatives is None else torch.where(negatives < 0, -1, column[negatives])
    rows = Rows(target, negatives, batch.known, batch.label)
    weight = torch.ones_like(query[:, 0]) if weight is None else weight
    learnt = [parameter for part in (scorer, loss) for parameter in part.parameters() if parameter.requires_grad]
    forth = partial(query_to_candidate_loss, rows, pool, scorer, loss)
    there = weighted(forth, query, pool.embedding, weight, learnt, chunk_size)
    if not loss.symmetric:
        return there
    queries = distributed.gather_rows(query) if gather else query  # (P, D)
    own = F.embedding(target, pool.embedding)  # (Q, D)
    back = partial(candidate_to_query_loss, transposed(rows, pool.id, gather), scorer, loss)
    again = weighted(back, own, queries, weight, learnt, chunk_size)
    return RowLosses((there.value + again.value) / 2, there.compared | again.compared, (there.total + again.total) / 2)


def describe_negatives(batch: Batch, cross_device: bool, memory: Memory | None = None, rows: int = 256) -> str:
    """How many candidates compete with a row's own, for people.

    Args:
        batch: the first of a fit, on this rank.
        cross_device: every rank's candidates compete.
        memory: those that it holds do, too.
        rows: how many rows to look at; the mean over them is told.
    """
    ids, ranks = batch.candidates.id, distributed.world_size()
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
    whose = (
        "" if ranks == 1 else f", from all {ranks} processes" if cross_device else f", from one of {ranks} processes"
    )
    return f"a query has {mean:,.1f} negatives on average in the first batch{whose}"


def query_to_candidate_loss(
    rows: Rows, pool: Pool, scorer: Scorer, loss: Loss, numbers: Tensor | None, query: Tensor, embedding: Tensor
) -> tuple[Tensor, Tensor]:
    """Values (Q,) and ``compared`` (Q,) of the numbered rows' queries (Q, D) against the candidates (C, D)."""
    target, negatives, known, label = rows.part(numbers)
    valid = valid_columns(target, negatives, known, pool.id)  # (Q, C)
    if negatives is None:
        scores = Scores(scorer(query, embedding), target, valid, pool.count, pool.log_q, label)
    else:  # no other column counts: score (Q, 1 + n) pairs in place of (Q, C)
        columns, new = own_columns(target, negatives)
        logits = scorer.pairs(query, embedding, columns)
        valid = valid.gather(1, columns) & new
        first = torch.zeros_like(target)
        scores = Scores(logits, first, valid, pool.count[columns], pool.log_q[columns], label)
    return _judged(loss, scores)


def _judged(loss: Loss, scores: Scores) -> tuple[Tensor, Tensor]:
    value, compared = loss(scores), scores.has_negative
    return value * compared if loss.compares else value, compared


class Transposed(NamedTuple):
    """What each column says of the queries of all ranks, with the sides changed over.

    A query may count against a candidate exactly if the candidate may count against the query; rows that own the same
    candidate never do.
    """

    target: Tensor  # (Q,) the column of each row's candidate
    own: Tensor  # (Q,) the number of each row's query among all
    never: Ragged  # C rows: the queries that like a column, their own or known
    only: Ragged | None  # C rows: the only queries that may count against a column; None = every query
    label: Tensor | None  # (Q,)

    def valid(self, numbers: Tensor | None, num_queries: int) -> tuple[Tensor, Tensor]:
        """(Q, P) bool of the numbered rows: may a query count for their candidate, and (Q,) which is its own."""
        target, own = (self.target, self.own) if numbers is None else (self.target[numbers], self.own[numbers])
        valid = torch.full((len(target), num_queries), self.only is None, device=target.device)
        if self.only is not None:
            only = take(self.only, target)
            valid[only.rows, only.values] = True
        never = take(self.never, target)
        valid[never.rows, never.values] = False
        return valid.scatter_(1, own[:, None], True), own


def transposed(rows: Rows, ids: Tensor, gather: bool) -> Transposed:
    """The transposed problem of rows whose columns have these ids (C,)."""
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
    """(2, n) queries and columns, of this rank -> the queries of each column, of all ranks."""
    query, column = (distributed.gather_rows(pairs.T) if gather else pairs.T).unbind(1)
    offsets = F.pad(torch.bincount(column, minlength=num_columns).cumsum(0), (1, 0))
    return Ragged(query[column.argsort()], offsets)


def candidate_to_query_loss(
    problem: Transposed, scorer: Scorer, loss: Loss, numbers: Tensor | None, candidate: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Values (Q,) and ``compared`` (Q,) of the numbered rows' candidates (Q, D) against the queries (P, D).

    Queries are scored as they come: each once, with no correction of their frequency.
    """
    valid, own = problem.valid(numbers, len(queries))  # (Q, P)
    logits = scorer(queries, candidate).T  # the scorer's sides stay as they are
    ones = torch.ones(len(queries), device=own.device)
    label = problem.label if problem.label is None or numbers is None else problem.label[numbers]
    return _judged(loss, Scores(logits, own, valid, ones, torch.full_like(ones, -torch.inf), label))
