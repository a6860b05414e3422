"""Categories: values of a fitted vocabulary, or hash buckets. Row 0 of the table is the unknown category."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import as_strings, flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import MAX_BUCKETS, hash_strings
from dssm_lightning.utils.ragged import Ragged

Ids: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Categories(Feature):
    """What :class:`Categorical` and :class:`CategoricalList` share: which values there are, and their ids.

    Values are compared as strings: 7, "7" and 7.0 are one category (a column of whole numbers with gaps often arrives
    as floats). Ids run in the sorted order of the values, so that equal data always give equal ids.

    Raises:
        ValueError: arguments that contradict each other, or a table that is smaller than the vocabulary.
    """

    min_frequency: int | float = 0
    """Values in fewer rows are not learnt: an int is a number of rows, a float a share of the rows; 0 keeps all."""
    num_buckets: int | None = None
    """Hash the values into this many buckets, ids 1 … num_buckets, instead of learning a vocabulary."""
    num_embeddings: int | None = None
    """Rows of the embedding table, where it should be larger than the data ask for."""
    vocabulary: tuple[str, ...] | None = None
    """The known values; value i has id i + 1. Learnt from the data unless it is given."""

    def __post_init__(self) -> None:
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # a list would not equal what JSON gives
        self._check_min_frequency()
        if self.num_buckets is not None:
            if not 1 <= self.num_buckets < MAX_BUCKETS:
                raise UserError(
                    f"{self._label}: num_buckets must lie in [1, {MAX_BUCKETS:,}), found {self.num_buckets:,}"
                )
            if self.vocabulary is not None or self.min_frequency:
                raise UserError(
                    f"{self._label}: num_buckets hashes every value, so `vocabulary` and `min_frequency` mean nothing; "
                    "give either num_buckets or those"
                )
        if self.vocabulary is not None:
            self._check_vocabulary(self.vocabulary)
        if self.num_embeddings is not None and self.num_embeddings < max(self._needed, 1):
            raise UserError(
                f"{self._label}: num_embeddings is {self.num_embeddings:,}, but {self._needed:,} rows are needed (the "
                "unknown category and the known values); raise it, or raise min_frequency"
            )

    def _check_min_frequency(self) -> None:
        value = self.min_frequency
        if isinstance(value, bool) or not value >= 0 or (isinstance(value, float) and value >= 1):
            raise UserError(
                f"{self._label}: min_frequency must be a count (an int from 0 up) or a share of the rows (a float in "
                f"[0, 1)), found {value!r}"
            )

    def _check_vocabulary(self, vocabulary: tuple[str, ...]) -> None:
        others = [value for value in vocabulary if not isinstance(value, str)]
        if others:
            raise UserError(f"{self._label}: the vocabulary must hold strings, found {others[0]!r}; quote it")
        if len(set(vocabulary)) < len(vocabulary):
            counts = pl.Series("value", vocabulary, dtype=pl.String).value_counts(name="rows")
            repeated = sorted(counts.filter(pl.col("rows") > 1)["value"].to_list())
            raise UserError(f"{self._label}: the vocabulary holds values more than once: {repeated[:5]}")

    @property
    def _label(self) -> str:
        return f"{type(self).__name__} feature {self.name!r}"

    @property
    def _needed(self) -> int:
        """Rows that the ids need, as far as that is known."""
        return 1 + (self.num_buckets or len(self.vocabulary or ()))

    @property
    def is_fitted(self) -> bool:
        """Whether values have ids."""
        return self.num_buckets is not None or self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table: the unknown category, then the known ones."""
        assert self.is_fitted
        return self._needed if self.num_embeddings is None else self.num_embeddings

    def _learnt(self, values: pl.Series, num_rows: int) -> tuple[str, ...]:
        """The values that occur often enough, sorted. ``values``: String, each once for every row that holds it."""
        counts = values.alias("value").drop_nulls().value_counts(name="rows")
        rows = counts["rows"] / num_rows if isinstance(self.min_frequency, float) else counts["rows"]
        known = counts.filter(rows >= self.min_frequency)["value"].sort()
        if len(known) == 0 and len(counts) > 0:
            raise UserError(
                f"{self._label}: min_frequency {self.min_frequency} leaves none of the {len(counts):,} values; the "
                f"most frequent one is in {counts['rows'].to_numpy().max():,} of {num_rows:,} rows"
            )
        return tuple(known.to_list())

    @cached_property
    def _sorted(self) -> tuple[pl.Series, Ids]:
        """Known values in sorted order, and their ids."""
        values = pl.Series(self.vocabulary, dtype=pl.String)
        order = values.arg_sort().to_numpy()
        return values[order], (order + 1).astype(np.int32)

    def _ids(self, values: pl.Series) -> Ids:
        """(T,) ids of strings; 0 for null and for values that are not known."""
        if self.num_buckets is not None:
            ids = (hash_strings(values.fill_null("")) % np.uint64(self.num_buckets)).astype(np.int32) + 1
            return np.where(values.is_null().to_numpy(), 0, ids).astype(np.int32)
        known, ids = self._sorted
        if len(known) == 0:
            return np.zeros(len(values), dtype=np.int32)
        # a binary search, as a hash join would build its table of the whole vocabulary again for each served query
        place = np.minimum(known.search_sorted(values.fill_null("")).to_numpy(), len(known) - 1)
        found = (known[place] == values).fill_null(False).to_numpy()
        return np.where(found, ids[place], 0).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Categorical(Categories):
    """One category in each row, such as an id, a country or an occupation: (B,) int32 ids, 0 = null or unknown."""

    prefix: int | None = None
    """Only so many first letters of a value count, where a code is a hierarchy: postal codes, branches of trade."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prefix is not None and self.prefix < 1:
            raise UserError(f"{self._label}: prefix must be at least 1 letter, found {self.prefix}")

    def fit(self, column: pl.Series) -> Categorical:
        """A copy that knows the column's values.

        Raises:
            ValueError: ``min_frequency`` leaves none; the table is too small for them; values that are no categories.
        """
        if self.is_fitted:
            return self
        return replace(self, vocabulary=self._learnt(self._strings(column), len(column)))

    def encode(self, column: pl.Series) -> Tensor:
        """(B,) values -> (B,) int32."""
        return torch.from_numpy(self._ids(self._strings(column)))

    def _strings(self, column: pl.Series) -> pl.Series:
        strings = as_strings(self, column)
        return strings if self.prefix is None else strings.str.head(self.prefix)


@dataclass(frozen=True, kw_only=True)
class CategoricalList(Categories):
    """Any number of categories in each row, such as tags or genres: :class:`Ragged` of int32 ids, in their order.

    Repeated values stay; null and the empty list are empty rows; a null within a list is left out.
    """

    separator: str | None = None
    """What stands between the values of a column of strings ("Action|Comedy"); spaces around a value do not count,
    and empty values are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.separator == "":
            raise UserError(f"{self._label}: the separator must not be empty; leave it out for a column of lists")

    def fit(self, column: pl.Series) -> CategoricalList:
        """A copy that knows the column's values; ``min_frequency`` counts the rows that hold a value.

        Raises:
            ValueError: as for :class:`Categorical`; a column of strings and no separator.
        """
        if self.is_fitted:
            return self
        values, offsets = flatten(self, self._lists(column))
        rows = np.repeat(np.arange(len(column)), np.diff(offsets.numpy()))
        once = pl.DataFrame({"row": rows, "value": as_strings(self, values)}).unique()
        return replace(self, vocabulary=self._learnt(once["value"], len(column)))

    def encode(self, column: pl.Series) -> Ragged:
        """(B,) lists, or strings to be split -> Ragged of B rows, int32."""
        values, offsets = flatten(self, self._lists(column))
        return Ragged(torch.from_numpy(self._ids(as_strings(self, values))), offsets)

    def _lists(self, column: pl.Series) -> pl.Series:
        if column.dtype != pl.String:
            return column
        if self.separator is None:
            example = column.drop_nulls().head(1).to_list()
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds strings such as {example}; name the `separator` "
                "that stands between their values, or give a column of lists"
            )
        pieces = column.str.split(self.separator).list.eval(pl.element().str.strip_chars())
        return pieces.list.eval(pl.element().filter(pl.element() != ""))
