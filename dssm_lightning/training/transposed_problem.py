"""The rows of a batch, and their problem with the sides exchanged, for losses that are symmetric."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.losses.masks import known_pairs
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Ragged, take


class Rows(NamedTuple):
    """The target, the own negatives and the known positives of each row."""

    target: Tensor  # (Q,) column of the row's candidate
    negatives: Tensor | None  # (Q, n) columns of the row's own negatives, -1 = none; None = every column
    known: Ragged | None  # Q rows: corpus rows of the query's known positives
    label: Tensor | None  # (Q,)
    row: Tensor | None = None  # (Q,) rows of the interaction table, which a teacher asks for
    objectives: dict[str, Tensor] | None = None  # by name (Q,)
    rating: Tensor | None = None  # (Q,)

    def part(self, numbers: Tensor | None) -> Rows:
        """Return the rows with the given numbers; None = all rows."""
        if numbers is None:
            return self
        negatives = None if self.negatives is None else take(self.negatives, numbers)
        known = None if self.known is None else take(self.known, numbers)
        label = None if self.label is None else take(self.label, numbers)
        row = None if self.row is None else take(self.row, numbers)
        several, rating = self.learned(numbers)
        return Rows(take(self.target, numbers), negatives, known, label, row, several, rating)

    def learned(self, numbers: Tensor | None) -> tuple[dict[str, Tensor] | None, Tensor | None]:
        """Return the objectives and the ratings of the rows with the given numbers; None = all rows."""
        if numbers is None:
            return self.objectives, self.rating
        several = self.objectives and {name: take(each, numbers) for name, each in self.objectives.items()}
        return several, None if self.rating is None else take(self.rating, numbers)


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
