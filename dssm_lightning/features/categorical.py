"""Categories: ids of a fitted vocabulary, or hash buckets. Row 0 of the table is the unknown category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dssm_lightning.features.categories import Categories, Ids
from dssm_lightning.features.few_values import flatten_values
from dssm_lightning.features.iso_dates import BLANKS
from dssm_lightning.features.raw_columns import as_strings, category_text, flatten
from dssm_lightning.features.raw_values import plain
from dssm_lightning.features.readings import Reading, ids_of, reading_of, value_text
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Categorical(Categories):
    """One category in each row, such as an id, a country or an occupation: (B,) int32 ids, 0 = null or unknown.

    Example:
        >>> import polars as pl
        >>> feature = Categorical(name="city").fit(pl.Series(["Rome", "Bonn", None]))
        >>> feature.vocabulary, feature.cardinality
        (('Bonn', 'Rome'), 3)
        >>> feature.encode(pl.Series(["Rome", "Oslo", None])).tolist()
        [2, 0, 0]
    """

    prefix: int | None = None
    """Use only the first ``prefix`` characters of a value, for hierarchical codes such as postal codes; None = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self._label, "prefix", self.prefix)

    def fit(self, column: pl.Series) -> Categorical:
        """Return a copy with the vocabulary of the column, or at least with ``dates``.

        Raises:
            UserError: ``min_frequency`` removes all values, the table is too small for them, or the values cannot be
                categories.
        """
        dates = self._dates_in(column)
        fitted = self if dates == self.dates else replace(self, dates=dates)
        if self.is_fitted:
            return fitted
        self._check_whole(column)
        return replace(fitted, vocabulary=self._learnt(fitted._strings(column), len(column)))

    def encode_array(self, column: pl.Series) -> Ids:
        """Encode values (B,) as ids (B,) int32."""
        return self._ids(self._strings(column))

    def _encode_few(self, values: Sequence[Any]) -> Ids:
        return self._few_ids(values, self.prefix)

    def read(self, value: Any) -> Reading:
        """Return the text of the value, and whether the vocabulary has it. Errors as for the base class."""
        ids = ids_of(self.encode_values([value]))
        text = category_text(value, self.dates)
        return reading_of(self, "values", [] if text is None else self._read_values([text[: self.prefix]], ids))

    def _strings(self, column: pl.Series) -> pl.Series:
        strings = as_strings(self, column, self.dates)
        return strings if self.prefix is None else strings.str.head(self.prefix)


@dataclass(frozen=True, kw_only=True)
class CategoricalList(Categories):
    """Any number of categories in each row, such as tags or genres: ragged int32 ids, in their order.

    Repeated values stay. A null or an empty list becomes an empty row. A null within a list is removed.

    Example:
        >>> import polars as pl
        >>> column = pl.Series(["Drama|Action", "", "Drama"])
        >>> feature = CategoricalList(name="genres", separator="|").fit(column)
        >>> feature.vocabulary
        ('Action', 'Drama')
        >>> ids = feature.encode(column)
        >>> ids.values.tolist(), ids.lengths.tolist()
        ([2, 1, 2], [2, 0, 1])
    """

    separator: str | None = None
    """The text between the values if the column holds strings ("Action|Comedy"). Spaces around a value and empty values
    are removed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.separator == "":
            raise UserError(f"{self._label}: separator is ''; it must not be empty (remove it for a column of lists)")

    def fit(self, column: pl.Series) -> CategoricalList:
        """Return a copy with the vocabulary of the column; ``min_frequency`` counts the rows that hold a value.

        Raises:
            UserError: as for :class:`Categorical`; also a column of strings without a separator.
        """
        values, offsets = flatten(self, self._lists(column))
        dates = self._dates_in(values)
        fitted = self if dates == self.dates else replace(self, dates=dates)
        if self.is_fitted:
            return fitted
        import polars as pl

        self._check_whole(values)
        rows = np.repeat(np.arange(len(column)), np.diff(offsets))
        once = pl.DataFrame({"row": rows, "value": as_strings(self, values, dates)}).unique()
        return replace(fitted, vocabulary=self._learnt(once["value"], len(column)))

    def encode_array(self, column: pl.Series) -> RaggedArray:
        """Encode lists (B,), or strings with separators, as B rows of ids, int32."""
        values, offsets = flatten(self, self._lists(column))
        return RaggedArray(self._ids(as_strings(self, values, self.dates)), offsets)

    def _encode_few(self, values: Sequence[Any]) -> RaggedArray:
        entries, offsets = flatten_values([self._list(plain(value)) for value in values])
        return RaggedArray(self._few_ids(entries), offsets)

    def read(self, value: Any) -> Reading:
        """Return the values as texts, and whether the vocabulary has them. Errors as for the base class."""
        ids = ids_of(self.encode_values([value]))
        entries, _ = flatten_values([self._list(plain(value))])
        texts = [category_text(entry, self.dates) or value_text(entry) for entry in entries]
        return reading_of(self, "values", self._read_values(texts, ids))

    def _list(self, value: Any) -> Any:
        """Split a text at the separators, as :meth:`_lists` does."""
        if not isinstance(value, str):
            return value
        if self.separator is None:
            raise UserError("a text without a separator")
        return [piece for part in value.split(self.separator) if (piece := part.strip(BLANKS))]

    def _lists(self, column: pl.Series) -> pl.Series:
        import polars as pl

        if column.dtype == pl.Object:
            values = column.to_list()
            texts = [number for number, value in enumerate(values) if isinstance(value, str)]
            lists = self._lists(raw_column([values[number] for number in texts], column.name)).to_list()
            for number, pieces in zip(texts, lists, strict=True):
                values[number] = pieces
            return raw_column(values, column.name)
        if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
            return column
        if self.separator is None:
            example = column.drop_nulls().head(1).to_list()
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds strings such as {example}; set `separator` to the "
                "text between their values, or give a column of lists"
            )
        column = column.cast(pl.String)
        pieces = column.str.split(self.separator).list.eval(pl.element().str.strip_chars())
        return pieces.list.eval(pl.element().filter(pl.element() != ""))
