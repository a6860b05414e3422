"""Categories: ids of a fitted vocabulary, or hash buckets. Row 0 of the table is the unknown category."""

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
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.hashing import MAX_BUCKETS, hash_strings, require_buckets
from dssm_lightning.utils.ragged import Ragged

Ids: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Categories(Feature):
    """The base of :class:`Categorical` and :class:`CategoricalList`: a vocabulary of values, and their ids.

    Values are compared as strings: 7, "7" and 7.0 are the same category, because a column of whole numbers with missing
    values often arrives as floats. Ids follow the sorted order of the values, so that equal data give equal ids.

    Raises:
        UserError: arguments contradict each other, or the table is smaller than the vocabulary.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Categorical
        >>> column = pl.Series(["a", "b", "b", None])
        >>> Categorical(name="letter").fit(column).vocabulary
        ('a', 'b')
        >>> Categorical(name="letter", min_frequency=2).fit(column).vocabulary
        ('b',)
        >>> Categorical(name="letter", num_buckets=1000).encode(column).tolist()
        [945, 674, 674, 0]
    """

    min_frequency: int | float = 0
    """Do not learn values in fewer rows: an int is a number of rows, a float is a share of the rows; 0 keeps all."""
    num_buckets: int | None = None
    """Hash the values to ids 1 … num_buckets instead of learning a vocabulary."""
    num_embeddings: int | None = None
    """Number of rows of the embedding table, if it should be larger than the vocabulary needs."""
    vocabulary: tuple[str, ...] | None = None
    """The known values; value i has id i + 1. Learnt by ``fit`` unless it is given."""

    def __post_init__(self) -> None:
        if self.vocabulary is not None:
            object.__setattr__(
                self, "vocabulary", tuple(self.vocabulary)
            )  # a list, as YAML has it, would not be hashable
        self._check_min_frequency()
        if self.num_buckets is not None:
            require_buckets(self._label, "num_buckets", self.num_buckets, MAX_BUCKETS - 1)
            if self.vocabulary is not None or self.min_frequency:
                raise UserError(
                    f"{self._label}: num_buckets is {self.num_buckets}, which hashes every value, so `vocabulary` and "
                    "`min_frequency` have no effect; remove num_buckets, or remove both of them"
                )
        if self.vocabulary is not None:
            self._check_vocabulary(self.vocabulary)
        if self.num_embeddings is not None and self.num_embeddings < max(self._needed, 1):
            raise UserError(
                f"{self._label}: num_embeddings is {self.num_embeddings:,}, but {self._needed:,} rows are needed (one "
                "for the unknown category, one for each known value); increase num_embeddings or min_frequency"
            )

    def _check_min_frequency(self) -> None:
        value = self.min_frequency
        if isinstance(value, bool) or not value >= 0 or (isinstance(value, float) and value >= 1):
            raise UserError(
                f"{self._label}: min_frequency is {value!r}; it must be a number of rows (an int, at least 0) or a "
                "share of the rows (a float in [0, 1))"
            )

    def _check_vocabulary(self, vocabulary: tuple[str, ...]) -> None:
        others = [value for value in vocabulary if not isinstance(value, str)]
        if others:
            raise UserError(f"{self._label}: vocabulary holds {others[0]!r}; it must hold strings (quote the value)")
        if len(set(vocabulary)) < len(vocabulary):
            counts = pl.Series("value", vocabulary, dtype=pl.String).value_counts(name="rows")
            repeated = sorted(counts.filter(pl.col("rows") > 1)["value"].to_list())
            raise UserError(f"{self._label}: vocabulary holds {repeated[:5]} more than once; remove the duplicates")

    @property
    def _needed(self) -> int:
        """Number of rows that the known ids need."""
        return 1 + (self.num_buckets or len(self.vocabulary or ()))

    @property
    def is_fitted(self) -> bool:
        """Whether the feature has a vocabulary, or hashes."""
        return self.num_buckets is not None or self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table: the unknown category, then the known ones."""
        assert self.is_fitted
        return self._needed if self.num_embeddings is None else self.num_embeddings

    def _learnt(self, values: pl.Series, num_rows: int) -> tuple[str, ...]:
        """Return the frequent values, sorted. ``values``: strings, each once for every row that holds it."""
        counts = values.alias("value").drop_nulls().value_counts(name="rows")
        rows = counts["rows"] / num_rows if isinstance(self.min_frequency, float) else counts["rows"]
        known = counts.filter(rows >= self.min_frequency)["value"].sort()
        if len(known) == 0 and len(counts) > 0:
            raise UserError(
                f"{self._label}: min_frequency is {self.min_frequency}, which removes all {len(counts):,} values; the "
                f"most frequent value is in {counts['rows'].to_numpy().max():,} of {num_rows:,} rows"
            )
        return tuple(known.to_list())

    @cached_property
    def _sorted(self) -> tuple[pl.Series, Ids]:
        """Known values in sorted order, and their ids."""
        values = pl.Series(self.vocabulary, dtype=pl.String)
        order = values.arg_sort().to_numpy()
        return values[order], (order + 1).astype(np.int32)

    def _ids(self, values: pl.Series) -> Ids:
        """Return the ids (T,) of strings; 0 for null and for unknown values."""
        if self.num_buckets is not None:
            ids = (hash_strings(values.fill_null("")) % np.uint64(self.num_buckets)).astype(np.int32) + 1
            return np.where(values.is_null().to_numpy(), 0, ids).astype(np.int32)
        known, ids = self._sorted
        if len(known) == 0:
            return np.zeros(len(values), dtype=np.int32)
        # a binary search: a hash join would hash the whole vocabulary again for each served query
        place = np.minimum(known.search_sorted(values.fill_null("")).to_numpy(), len(known) - 1)
        found = (known[place] == values).fill_null(False).to_numpy()
        return np.where(found, ids[place], 0).astype(np.int32)


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
        """Return a copy with the vocabulary of the column.

        Raises:
            UserError: ``min_frequency`` removes all values, the table is too small for them, or the values cannot be
                categories.
        """
        if self.is_fitted:
            return self
        return replace(self, vocabulary=self._learnt(self._strings(column), len(column)))

    def encode(self, column: pl.Series) -> Tensor:
        """Encode values (B,) as ids (B,) int32."""
        return torch.from_numpy(self._ids(self._strings(column)))

    def _strings(self, column: pl.Series) -> pl.Series:
        strings = as_strings(self, column)
        return strings if self.prefix is None else strings.str.head(self.prefix)


@dataclass(frozen=True, kw_only=True)
class CategoricalList(Categories):
    """Any number of categories in each row, such as tags or genres: :class:`Ragged` of int32 ids, in their order.

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
        if self.is_fitted:
            return self
        values, offsets = flatten(self, self._lists(column))
        rows = np.repeat(np.arange(len(column)), np.diff(offsets.numpy()))
        once = pl.DataFrame({"row": rows, "value": as_strings(self, values)}).unique()
        return replace(self, vocabulary=self._learnt(once["value"], len(column)))

    def encode(self, column: pl.Series) -> Ragged:
        """Encode lists (B,), or strings with separators, as a Ragged of B rows, int32."""
        values, offsets = flatten(self, self._lists(column))
        return Ragged(torch.from_numpy(self._ids(as_strings(self, values))), offsets)

    def _lists(self, column: pl.Series) -> pl.Series:
        if column.dtype != pl.String:
            return column
        if self.separator is None:
            example = column.drop_nulls().head(1).to_list()
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds strings such as {example}; set `separator` to the "
                "text between their values, or give a column of lists"
            )
        pieces = column.str.split(self.separator).list.eval(pl.element().str.strip_chars())
        return pieces.list.eval(pl.element().filter(pl.element() != ""))
