"""From the embeddings of both sides to one loss for each query: score, mark the valid columns, call the loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.data.batch import Batch
from dssm_lightning.losses import Loss, Scores
from dssm_lightning.losses.masks import liked_columns, own_columns, valid_columns
from dssm_lightning.models.embedding_layout import Layouts
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.training.candidate_pool import Pool, gather_pool
from dssm_lightning.training.chunked_loss import RowLosses, weighted
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.training.teaching import Teaching, TransposedTeaching
from dssm_lightning.training.transposed_problem import Rows, Transposed, transposed
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import take


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
    teaching: Teaching | None = None,
    layouts: Layouts | None = None,
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
        teaching: a guide that leaves out negatives, and a teacher's scores.
        layouts: how embeddings are cut to the widths of the loss, and which numbers the layers make, for a loss of
            all likes; None = it needs neither.
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
    rows = Rows(target, negatives, batch.known, batch.label, batch.row, batch.objectives, batch.rating)
    weight = torch.ones_like(query[:, 0]) if weight is None else weight
    trained = [parameter for part in (scorer, loss) for parameter in part.parameters() if parameter.requires_grad]
    number = batch.num_candidates
    by_query = partial(query_to_candidate_loss, rows, pool, scorer, loss, layouts, counts, teaching, number)
    one = weighted(by_query, query, pool.embedding, weight, trained, chunk_size)
    if not loss.symmetric:
        return one
    queries = distributed.gather_rows(query) if gather else query  # (P, D)
    own = F.embedding(target, pool.embedding)  # (Q, D)
    judged = None
    if teaching is not None:
        with torch.no_grad():
            positive = scorer.pairs(query, pool.embedding, target[:, None]).squeeze(1)
        judged = teaching.transposed(batch.row, pool.id[target], batch.label, positive, gather)
    other_way = transposed(rows, pool.id, gather)
    by_candidate = partial(candidate_to_query_loss, other_way, rows, scorer, loss, layouts, judged)
    other = weighted(by_candidate, own, queries, weight, trained, chunk_size)
    return RowLosses((one.value + other.value) / 2, one.compared | other.compared, (one.total + other.total) / 2)


def row_weights(batch: Batch, loss: Loss) -> Tensor:
    """(B,) weight of each row in the mean of the loss: 0 for rows that the loss cannot learn from."""
    weight = torch.ones(len(batch.row), device=batch.row.device) if batch.weight is None else batch.weight
    if loss.uses_labels:
        return weight
    if batch.label is not None:
        weight = weight * batch.label
    if loss.objectives and batch.objectives is not None:
        weight = weight * torch.stack([batch.objectives[name] for name in loss.objectives]).amax(0)
    return weight


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
    layouts: Layouts | None,
    counts: NegativeCounts | None,
    teaching: Teaching | None,
    num_candidates: int | None,
    numbers: Tensor | None,
    query: Tensor,
    embedding: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return losses (Q,) and ``compared`` (Q,) of the numbered rows: their queries (Q, D) against candidates (C, D)."""
    target, negatives, known, label, row, several, rating = rows.part(numbers)
    valid = valid_columns(target, negatives, known, pool.id)  # (Q, C)
    score: Callable[[Tensor, Tensor], Tensor] = scorer
    if negatives is None:
        scores, ids = Scores(score(query, embedding), target, valid, pool.count, pool.log_q, label), pool.id
        offered: Tensor | int = valid.numel()
    else:  # no other column counts: score (Q, 1 + n) pairs instead of (Q, C)
        columns, new = own_columns(target, negatives)
        score = partial(scorer.pairs, columns=columns)
        valid = valid.gather(1, columns) & new
        first = torch.zeros_like(target)
        scores = Scores(score(query, embedding), first, valid, pool.count[columns], pool.log_q[columns], label)
        offered, ids = new.sum(), pool.id[columns]
    scores = scores._replace(num_candidates=num_candidates, narrow=_narrow(loss, layouts, score, query, embedding))
    scores = scores._replace(objectives=several, rating=rating)
    if loss.uses_rating:
        scores = scores._replace(pair=(query, F.embedding(target, embedding)))
    if loss.uses_likes:
        assert layouts is not None
        liked = liked_columns(target, negatives, known, pool.id)
        scores = scores._replace(liked=liked, own=layouts.own_logits(scorer, embedding))
    _check_shape("the scorer's logits", scores.logits, scores.valid.shape)
    if teaching is None:
        return _evaluate(loss, scores, counts, offered - len(target))
    assert row is not None
    judged = teaching.judge(scores, row, ids)
    if loss.uses_teacher_embeddings:
        judged = teaching.compare_embeddings(judged, row, pool.id[target], query, F.embedding(target, embedding))
    return _evaluate(loss, judged, counts, offered - len(target), scores.num_negatives - judged.num_negatives)


def _evaluate(
    loss: Loss,
    scores: Scores,
    counts: NegativeCounts | None = None,
    offered: Tensor | int = 0,
    removed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    negatives = scores.num_negatives
    if counts is not None:
        counts.hold(negatives, offered, removed)
    value, compared = loss(scores), (scores.num_taught if loss.needs_scores else negatives) > 0
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


def candidate_to_query_loss(
    problem: Transposed,
    rows: Rows,
    scorer: Scorer,
    loss: Loss,
    layouts: Layouts | None,
    judged: TransposedTeaching | None,
    numbers: Tensor | None,
    candidate: Tensor,
    queries: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return losses (Q,) and ``compared`` (Q,) of the numbered rows: their candidates (Q, D) against queries (P, D).

    Every query is one column, without a correction of its frequency.
    """
    valid, own = problem.valid(numbers, len(queries))  # (Q, P)
    score = partial(_transposed_logits, scorer)
    logits = score(queries, candidate)
    ones = torch.ones(len(queries), device=own.device)
    label = problem.label if problem.label is None or numbers is None else problem.label[numbers]
    _check_shape("the scorer's logits", logits, valid.shape)
    scores = Scores(logits, own, valid, ones, torch.full_like(ones, -torch.inf), label)
    several, rating = rows.learned(numbers)
    narrow = _narrow(loss, layouts, score, queries, candidate)
    scores = scores._replace(narrow=narrow, objectives=several, rating=rating)
    if loss.uses_rating:
        scores = scores._replace(pair=(F.embedding(own, queries), candidate))
    return _evaluate(loss, scores if judged is None else judged.judge(scores, numbers))


def _transposed_logits(scorer: Scorer, queries: Tensor, candidate: Tensor) -> Tensor:
    """(P, D), (Q, D) -> (Q, P): the scorer's first argument is always the query."""
    logits: Tensor = scorer(queries, candidate)
    return logits.T


def _narrow(
    loss: Loss,
    layouts: Layouts | None,
    score: Callable[[Tensor, Tensor], Tensor],
    query: Tensor,
    candidate: Tensor,
) -> tuple[Tensor, ...]:
    """Return the logits of embeddings cut to the widths of the loss, without those of whole embeddings."""
    return () if layouts is None else layouts.logits(score, query, candidate, loss.dims[:-1])
