"""Which candidates are ranked in an evaluation: the whole corpus, or those alone that a fold holds out."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.batch import EvaluationBatch, Ragged


class Ranking(NamedTuple):
    """The M candidates that are ranked, numbered 0 … M − 1 in the order of the corpus."""

    rows: Tensor | None  # (M,) int64, ascending: their corpus rows; None = the whole corpus
    popularity: Tensor  # (M,) int64 training positives of each
    groups: dict[str, Tensor]  # by name (M,) bool: candidates of whom metrics are told apart

    @property
    def size(self) -> int:
        """M."""
        return len(self.popularity)


def make_ranking(rows: Tensor | None, popularity: Tensor, groups: dict[str, Tensor]) -> Ranking:
    """A ranking of these corpus rows, of what is known of the whole corpus (N,)."""
    if rows is None:
        return Ranking(None, popularity, groups)
    return Ranking(rows, popularity[rows], {name: chosen[rows] for name, chosen in groups.items()})


def presence(candidates: pl.DataFrame, columns: list[str]) -> dict[str, Tensor]:
    """For each column (N,) whose value is there, as ``with_<column>``, and whose is not, as ``without_<column>``.

    Raises:
        ValueError: no such column.
    """
    groups: dict[str, Tensor] = {}
    for name in columns:
        if name not in candidates.columns:
            raise ValueError(
                f"tell_apart: candidates have no column {name!r}; they have {', '.join(candidates.columns)} "
                "(bytes of pictures are not kept)"
            )
        there = torch.from_numpy(candidates[name].is_not_null().to_numpy().copy())
        groups |= {f"with_{name}": there, f"without_{name}": ~there}
    return groups


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
