"""What was said by those who liked a candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.history import History
from dssm_lightning.features.raw_columns import flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True, kw_only=True)
class LikedBy(Feature):
    """What liked a candidate in training: the ids that a query feature has for all these queries, side by side.

    A page is also what people asked before they found it, a film also who likes it. The mirror of :class:`History`:
    it reads no column of a table, the data module assembles it from the training rows. In a training batch a candidate
    is seen without the batch's own rows (those of every rank), so that no row finds itself in what it is to predict;
    in an evaluation, in the index and for mining it has all of its training rows. Only a candidate that is given by
    raw values reads a list, of raw values of the query feature's column.

    Raises:
        ValueError: a length below 1, or a dropout outside [0, 1).
    """

    of: str
    """Name of the query feature: a text, a list or a category."""
    max_length: int | None = None
    """Keep the last so many of the queries, in the order of the interactions; null keeps all."""
    dropout: float = 0.0
    """Probability with which training leaves out a query."""
    item: Feature | None = None
    """The fitted query feature that ``of`` names; :meth:`bind` fills it in."""

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"{self._label}: max_length must be at least 1, found {self.max_length}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"{self._label}: dropout must lie in [0, 1), found {self.dropout}")

    @property
    def _label(self) -> str:
        return f"LikedBy feature {self.name!r}"

    @property
    def is_fitted(self) -> bool:
        """Whether the query feature is bound and fitted."""
        return self.item is not None and self.item.is_fitted

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table, which are the query feature's."""
        rows: int = getattr(self.item, "cardinality")  # noqa: B009  # bind has checked that it is there
        return rows

    def bind(self, item: Feature) -> LikedBy:
        """A copy that has the ids of the fitted query feature.

        Raises:
            ValueError: ``item`` has no ids, or is itself assembled.
        """
        if isinstance(item, History) or not hasattr(type(item), "cardinality"):
            raise UserError(
                f"{self._label}: `of` must name a query feature of ids (a text, a list or a category), {self.of!r} is "
                f"a {type(item).__name__}"
            )
        return replace(self, item=item)

    def encode(self, column: pl.Series) -> Ragged:
        """(B,) lists of raw values of the query feature's column -> Ragged of B rows; null is an empty one."""
        assert self.item is not None
        values, offsets = flatten(self, column, self.max_length)
        encoded = self.item.encode(values)
        if isinstance(encoded, Tensor):
            return Ragged(encoded, offsets)
        assert isinstance(encoded, Ragged)
        return Ragged(encoded.values, encoded.offsets[offsets])
