"""The candidates that an evaluation ranks: the whole corpus, or only the candidates that a fold holds out or lists."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.suggestions import did_you_mean

MAX_VALUES = 50
"""Largest number of values of a query column in ``slice_by``."""


class Ranking(NamedTuple):
    """The M ranked candidates, numbered 0 … M − 1 in the order of the corpus.

    Example:
        >>> popularity = torch.tensor([5, 0, 2, 1])
        >>> ranking = Ranking(torch.tensor([1, 3]), popularity[[1, 3]], groups={}, query_groups={})
        >>> ranking.size, ranking.popularity.tolist()
        (2, [0, 1])
    """

    rows: Tensor | None  # (M,) int64, ascending: the corpus rows of the ranked candidates; None = the whole corpus
    popularity: Tensor  # (M,) int64: number of training positives of each candidate
    groups: dict[str, Tensor]  # name -> (M,) bool: candidates of a metric slice
    query_groups: dict[str, Tensor]  # name -> (rows of the query table,) bool: queries of a metric slice
    longest_list: int | None = None  # candidates of the longest list, if each query ranks its own; None = it ranks all
    objectives: tuple[str, ...] = ()  # names of the objectives, each of which has metrics of its own

    @property
    def size(self) -> int:
        """M, number of ranked candidates."""
        return len(self.popularity)


def make_ranking(
    rows: Tensor | None,
    popularity: Tensor,
    slice_by: list[str],
    candidates: pl.DataFrame,
    queries: pl.DataFrame,
    longest_list: int | None = None,
) -> Ranking:
    """Make a ranking and its metric slices.

    Args:
        rows: (M,) int64 ranked corpus rows, ascending; None = the whole corpus.
        popularity: (N,) number of training positives of each corpus row.
        slice_by: columns of either side by which metrics are sliced.
        candidates: the corpus, N rows of raw columns.
        queries: the query table, raw columns.
        longest_list: candidates of the longest list, if each query ranks its own list.

    Raises:
        UserError: ``slice_by`` names an unknown column, or a query column with too many values.
    """
    groups: dict[str, Tensor] = {}
    query_groups: dict[str, Tensor] = {}
    for name in slice_by:
        if name in candidates.columns:
            groups |= _presence_groups(candidates[name])
        elif name in queries.columns:
            query_groups |= _value_groups(queries[name])
        else:
            hint = did_you_mean(name, [*candidates.columns, *queries.columns])
            raise UserError(
                f"slice_by: neither side has a column {name!r}; candidates has {', '.join(candidates.columns)}; "
                f"queries has {', '.join(queries.columns)} (columns of image bytes are not kept){hint}"
            )
    if rows is None:
        return Ranking(None, popularity, groups, query_groups)
    groups = {name: chosen[rows] for name, chosen in groups.items()}
    return Ranking(rows, popularity[rows], groups, query_groups, longest_list)


def _presence_groups(column: pl.Series) -> dict[str, Tensor]:
    """Return two groups: rows with a value (``with_<column>``), and rows without one (``without_<column>``)."""
    present = _to_tensor(column.is_not_null())
    return {f"with_{column.name}": present, f"without_{column.name}": ~present}


def _value_groups(column: pl.Series) -> dict[str, Tensor]:
    """Return a group for each value (``<column>=<value>``); a row without a value is in no group."""
    values = column.drop_nulls().unique().sort().to_list()
    if len(values) > MAX_VALUES:
        raise UserError(
            f"slice_by: the queries' column {column.name!r} has {len(values):,} values; at most {MAX_VALUES} are "
            "possible, because each value becomes a slice"
        )
    return {f"{column.name}={value}": _to_tensor((column == value).fill_null(False)) for value in values}


def _to_tensor(column: pl.Series) -> Tensor:
    return torch.from_numpy(column.to_numpy().copy())


def renumber_candidates(batch: EvaluationBatch, place: Tensor) -> EvaluationBatch:
    """Replace corpus rows by places in a ranking, and remove candidates that are not ranked.

    Args:
        batch: a batch of corpus rows.
        place: (N,) int64 place of each corpus row, −1 for a candidate that is not ranked.
    """
    ranked = place[batch.relevant.values.long()] >= 0
    return batch._replace(
        relevant=_renumber(batch.relevant, place),
        seen=_renumber(batch.seen, place),
        shown=None if batch.shown is None else _renumber(batch.shown, place),
        grade=None if batch.grade is None else batch.grade[ranked],
        num_liked=batch.liked,
        listed=None if batch.listed is None else _renumber(batch.listed, place),
        objectives=None if batch.objectives is None else batch.objectives[ranked],
    )


def _renumber(candidates: Ragged, place: Tensor) -> Ragged:
    found = place[candidates.values.long()]
    return candidates._replace(values=found).only(found >= 0)
