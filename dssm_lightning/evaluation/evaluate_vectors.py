"""The evaluation of embeddings that were computed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation, resolve_ks
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take

SCORES_AT_ONCE = 1 << 24


def evaluate_vectors(
    query: Tensor,
    corpus: Tensor,
    relevant: Sequence[Sequence[int]],
    seen: Sequence[Sequence[int]] | None = None,
    ks: list[int] | None = None,
) -> dict[str, float]:
    """Rank the whole corpus for each query by the dot product, and return the metrics of this package.

    Args:
        query: (Q, D) embeddings of the queries; scale rows to length 1 for the cosine.
        corpus: (N, D) embeddings of the candidates.
        relevant: for each query the rows of the corpus that it should find. A query without any does not count.
        seen: for each query the rows that are masked, such as its training positives; None = nothing is masked.
        ks: cut-offs of the metrics; None = 1, 5, 10, 50, 100, as far as the corpus has them.

    Returns:
        the metrics by name, such as ``hit_rate@10``, ``ndcg@10`` and ``mrr``; with ``seen``, ``seen_kept/…`` ranks the
        masked candidates as well.

    Raises:
        UserError: shapes that do not fit, a row that the corpus does not have, a row that is relevant and seen.

    Example:
        >>> vectors = torch.eye(3)
        >>> metrics = evaluate_vectors(vectors, vectors, relevant=[[0], [1], [0]], ks=[1])
        >>> round(metrics["hit_rate@1"], 3)
        0.667
    """
    _check_shapes(query, corpus)
    wanted = _lists("relevant", relevant, query, corpus)
    masked = _lists("seen", [()] * len(query) if seen is None else seen, query, corpus)
    _check_disjoint(wanted, masked, len(corpus))
    evaluation = Evaluation(resolve_ks(ks, len(corpus)), labelled=False)
    for rows in torch.split(torch.arange(len(query)), max(1, SCORES_AT_ONCE // len(corpus))):
        batch = EvaluationBatch({}, rows, take(wanted, rows), take(masked, rows), shown=None)
        evaluation.update(query[rows].float() @ corpus.float().T, batch)
    found = evaluation.compute()
    return found if seen is not None else {name: value for name, value in found.items() if "/" not in name}


def _check_shapes(query: Tensor, corpus: Tensor) -> None:
    if query.ndim != 2 or corpus.ndim != 2 or query.shape[1] != corpus.shape[1] or not len(corpus):
        shapes = f"query is {tuple(query.shape)} and corpus {tuple(corpus.shape)}"
        raise UserError(f"evaluate_vectors: {shapes}; they must be (Q, D) and (N, D), and N at least 1")


def _lists(name: str, lists: Sequence[Sequence[int]], query: Tensor, corpus: Tensor) -> Ragged:
    """Return the lists as ragged rows of distinct, ascending numbers."""
    if len(lists) != len(query):
        raise UserError(f"evaluate_vectors: {name} has {len(lists):,} lists for {len(query):,} queries")
    distinct = [sorted({int(row) for row in each}) for each in lists]
    for number, rows in enumerate(distinct):
        if rows and not (rows[0] >= 0 and rows[-1] < len(corpus)):
            wrong = rows[0] if rows[0] < 0 else rows[-1]
            last = len(corpus) - 1
            raise UserError(f"evaluate_vectors: {name} of query {number} names row {wrong}; there are rows 0 to {last}")
    values = torch.tensor(list(chain.from_iterable(distinct)), dtype=torch.int64)
    return Ragged.from_lengths(values, torch.tensor([len(rows) for rows in distinct], dtype=torch.int64))


def _check_disjoint(wanted: Ragged, masked: Ragged, num_candidates: int) -> None:
    both = torch.isin(wanted.rows * num_candidates + wanted.values, masked.rows * num_candidates + masked.values)
    if both.any():
        first = int(both.nonzero()[0])
        row, query = int(wanted.values[first]), int(wanted.rows[first])
        raise UserError(
            f"evaluate_vectors: row {row} is relevant to query {query} and seen by it; drop it from one list"
        )
