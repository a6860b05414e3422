"""Which candidates are ranked in an evaluation: the whole corpus, or those alone that a fold holds out."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

MOST_VALUES = 50


class Ranking(NamedTuple):
    """The M candidates that are ranked, numbered 0 … M − 1 in the order of the corpus."""

    rows: Tensor | None  # (M,) int64, ascending: their corpus rows; None = the whole corpus
    popularity: Tensor  # (M,) int64 training positives of each
    groups: dict[str, Tensor]  # by name (M,) bool: candidates of whom metrics are told apart
    query_groups: dict[str, Tensor]  # by name (all queries,) bool: queries of whom they are

    @property
    def size(self) -> int:
        """M."""
        return len(self.popularity)


def make_ranking(
    rows: Tensor | None, popularity: Tensor, slice_by: list[str], candidates: pl.DataFrame, queries: pl.DataFrame
) -> Ranking:
    """A ranking of these corpus rows, of what is known of the whole corpus (N,).

    Raises:
        ValueError: a name of ``slice_by`` that is no column of either side, or of queries with too many values.
    """
    groups: dict[str, Tensor] = {}
    query_groups: dict[str, Tensor] = {}
    for name in slice_by:
        if name in candidates.columns:
            groups |= _presence(candidates[name])
        elif name in queries.columns:
            query_groups |= _values(queries[name])
        else:
            raise UserError(
                f"slice_by: neither side has a column {name!r}; candidates have {', '.join(candidates.columns)}, "
                f"queries have {', '.join(queries.columns)} (bytes of pictures are not kept)"
            )
    if rows is None:
        return Ranking(None, popularity, groups, query_groups)
    return Ranking(rows, popularity[rows], {name: chosen[rows] for name, chosen in groups.items()}, query_groups)


def _presence(column: pl.Series) -> dict[str, Tensor]:
    """Whose value is there, as ``with_<column>``, and whose is not, as ``without_<column>``."""
    there = _flags(column.is_not_null())
    return {f"with_{column.name}": there, f"without_{column.name}": ~there}


def _values(column: pl.Series) -> dict[str, Tensor]:
    """Who has which value, as ``<column>=<value>``; who has none is in no group."""
    values = column.drop_nulls().unique().sort().to_list()
    if len(values) > MOST_VALUES:
        raise UserError(
            f"slice_by: the queries' {column.name!r} has {len(values):,} values, each of which would be a slice; "
            f"at most {MOST_VALUES} are told apart"
        )
    return {f"{column.name}={value}": _flags((column == value).fill_null(False)) for value in values}


def _flags(column: pl.Series) -> Tensor:
    return torch.from_numpy(column.to_numpy().copy())


def renumbered(batch: EvaluationBatch, place: Tensor) -> EvaluationBatch:
    """A batch whose candidates are numbered by their place in a ranking; those without one are left out.

    Args:
        batch: of corpus rows.
        place: (N,) int64, −1 for a candidate that is not ranked.
    """
    ranked = place[batch.relevant.values.long()] >= 0
    return batch._replace(
        relevant=_renumbered(batch.relevant, place),
        seen=_renumbered(batch.seen, place),
        shown=None if batch.shown is None else _renumbered(batch.shown, place),
        grade=None if batch.grade is None else batch.grade[ranked],
        num_liked=batch.seen.lengths,
    )


def _renumbered(candidates: Ragged, place: Tensor) -> Ragged:
    found = place[candidates.values.long()]
    return candidates._replace(values=found).only(found >= 0)
