"""What a query liked before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
import torch

from dssm_lightning.batch import Ragged
from dssm_lightning.features.base import Feature
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.columns import flatten


@dataclass(frozen=True, kw_only=True)
class History(Feature):
    """The query's earlier liked candidates, by one of their features: :class:`Ragged` of int32 ids, oldest first.

    It reads no column of a table: in training and evaluation the data module assembles it from the training positives,
    without the candidate that is to be predicted. Only when serving does ``encode`` read raw ids, which the caller
    gives. ``age`` counts events back from the newest, which has age 1.

    Raises:
        ValueError: a length below 1, or a dropout outside [0, 1).
    """

    of: str
    """Name of the Categorical candidate feature that stands for a candidate, its id as a rule."""
    order: Literal["time", "leave_one_out"] = "leave_one_out"
    """"time": what was liked strictly before the event. "leave_one_out": everything liked but the target itself."""
    max_length: int | None = None
    """Keep this many of the newest entries; None keeps all."""
    dropout: float = 0.0
    """Probability with which training leaves an entry out of a history."""
    item: Categorical | None = None
    """The fitted candidate feature that ``of`` names; :meth:`bind` fills it in."""

    def __post_init__(self) -> None:
        if self.order not in ("time", "leave_one_out"):
            raise ValueError(f"{self._label}: order must be time or leave_one_out, found {self.order!r}")
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(
                f"{self._label}: max_length must be at least 1, found {self.max_length}; leave it out to keep all"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"{self._label}: dropout must lie in [0, 1), found {self.dropout}")

    @property
    def _label(self) -> str:
        return f"History feature {self.name!r}"

    @property
    def is_fitted(self) -> bool:
        """Whether the candidate feature is bound and fitted."""
        return self.item is not None and self.item.is_fitted

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table, which are the candidate feature's."""
        assert self.item is not None
        return self.item.cardinality

    def bind(self, item: Feature) -> History:
        """A copy that encodes its entries by the fitted candidate feature.

        Raises:
            ValueError: ``item`` is not a Categorical.
        """
        if not isinstance(item, Categorical):
            kind = type(item).__name__
            raise ValueError(
                f"{self._label}: `of` must name a Categorical candidate feature, {self.of!r} is {kind}; one category "
                "stands for a candidate (its id, for instance)"
            )
        return replace(self, item=item)

    def encode(self, column: pl.Series) -> Ragged:
        """(B,) lists of raw values of the candidate feature, oldest first -> Ragged of B rows; null is an empty one.

        Candidates that training never saw count, as unknown ones (id 0).
        """
        assert self.item is not None
        values, offsets = flatten(self, column, self.max_length)
        history = Ragged(self.item.encode(values), offsets)
        age = offsets[1:][history.rows] - torch.arange(len(values))
        return history._replace(age=age.float())
