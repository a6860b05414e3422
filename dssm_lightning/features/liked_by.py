"""The queries that liked a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dssm_lightning.features.base import Feature, has_ids, table_rows
from dssm_lightning.features.few_values import flatten_values
from dssm_lightning.features.history import History
from dssm_lightning.features.history_entries import cut_entries, grouped, read_entries
from dssm_lightning.features.raw_columns import flatten
from dssm_lightning.features.readings import Reading, Truncation
from dssm_lightning.utils.errors import UserError, require_at_least, require_fraction
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class LikedBy(Feature):
    """The queries that liked a candidate in training: the concatenated ids of a query feature of these queries.

    A page is described by the search terms that led to it, a film by the users who liked it. Like its counterpart
    :class:`History`, the feature reads no column of a table: the data module assembles it from the training rows. In a
    training batch, the rows of the batch (of every process) are excluded, so that no row sees the pair that it
    predicts. In evaluation, in the index and in mining, all training rows are used. Only for a candidate that is given
    by raw values does the feature read a list: raw values of the query feature's column.

    Raises:
        UserError: ``max_length`` is below 1, or ``dropout`` is outside [0, 1).

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Words
        >>> terms = Words(name="search", vocabulary=("red", "shoes", "boots"))
        >>> found_by = LikedBy(name="found_by", of="search").bind(terms)
        >>> found_by.encode(pl.Series([["red shoes", "boots"], None])).values.tolist()
        [1, 2, 3]
    """

    of: str
    """Name of the query feature: a text, a list or a category."""
    max_length: int | None = None
    """Keep only the last ``max_length`` queries, in the order of the interactions; None keeps all."""
    dropout: float = 0.0
    """Probability of removing a query in training."""
    item: Feature | None = None
    """The fitted query feature that ``of`` names; set by :meth:`bind`."""

    def __post_init__(self) -> None:
        require_at_least(self._label, "max_length", self.max_length, hint="remove it to keep all queries")
        require_fraction(self._label, "dropout", self.dropout)

    @property
    def is_fitted(self) -> bool:
        """Whether the query feature is bound and fitted."""
        return self.item is not None and self.item.is_fitted

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table, equal to the query feature's."""
        return table_rows(self.item)

    def bind(self, item: Feature) -> LikedBy:
        """Return a copy that encodes its entries with the fitted query feature.

        Raises:
            UserError: ``item`` has no ids, or is itself a :class:`History`.
        """
        if isinstance(item, History) or not has_ids(item):
            raise UserError(
                f"{self._label}: `of` is {self.of!r}, a {type(item).__name__}; it must name a query feature with ids "
                "(a text, a list of categories, or a category)"
            )
        return replace(self, item=item)

    def encode_array(self, column: pl.Series) -> RaggedArray:
        """Encode lists (B,) of raw values of the query feature's column as B rows of ids; null becomes an empty row."""
        assert self.item is not None
        values, offsets = flatten(self, column, self.max_length)
        return grouped(self.item._encode_column(values), offsets)

    def _encode_few(self, values: Sequence[Any]) -> RaggedArray | None:
        assert self.item is not None
        entries, offsets = flatten_values(values, self.max_length)
        ids = self.item._encode_entries(entries)
        return None if ids is None else grouped(ids, offsets)

    def read(self, value: Any) -> Reading:
        """Return the values that the last queries become. Errors as for the base class."""
        assert self.item is not None
        self.encode_values([value])
        return read_entries(self, self.item, _entries(value), self.max_length, self.truncations(value))

    def truncations(self, value: Any) -> list[Truncation]:
        """Return whether there are more than ``max_length`` queries, and what the feature of the queries cuts off."""
        return cut_entries(self, self.item, value, self.max_length, _entries)


def _entries(value: Any) -> list[Any]:
    return flatten_values([value])[0]
