"""What :class:`Categorical` and :class:`CategoricalList` share: a vocabulary or hash buckets, and ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import DateTexts, category_text
from dssm_lightning.features.readings import ReadValue
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError, require_choice
from dssm_lightning.utils.hashing import MAX_BUCKETS, hash_strings, hash_text, require_buckets

if TYPE_CHECKING:
    import polars as pl

Ids: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Categories(Feature):
    """The base of :class:`Categorical` and :class:`CategoricalList`: a vocabulary of values, and their ids.

    Values are compared as strings, each by itself (:mod:`~dssm_lightning.features.raw_values`): 7, "7" and 7.0 are the
    same category, because a column of whole numbers with missing values often arrives as floats. Ids follow the sorted
    order of the values, so that equal data give equal ids.

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
    dates: DateTexts = None
    """Text of dates; set by ``fit``. "iso": the feature was fitted on dates, and a text that it encodes is a date of
    ISO 8601, too. None: texts stay as written. "polars": dates have the texts of releases up to 0.1.0."""

    def __post_init__(self) -> None:
        if self.vocabulary is not None:
            object.__setattr__(
                self, "vocabulary", tuple(self.vocabulary)
            )  # a list, as YAML has it, would not be hashable
        self._check_min_frequency()
        if self.dates is not None:
            require_choice(self._label, "dates", self.dates, ("iso", "polars"))
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
            import polars as pl

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

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Add ``dates``: releases up to 0.1.0, which did not save it, wrote dates as Polars does."""
        return {"dates": "polars", **values}

    def _dates_in(self, values: pl.Series) -> DateTexts:
        """Return how the dates of raw values (T,) become text; unchanged if they are no dates."""
        import polars as pl

        dtype = raw_column(values.to_list()).dtype if values.dtype == pl.Object else values.dtype
        return "iso" if dtype in (pl.Date, pl.Datetime) and self.dates is None else self.dates

    def _check_whole(self, values: pl.Series) -> None:
        """Refuse to learn fractional numbers (T,), each of which would be a category."""
        if not (values.dtype.is_float() or values.dtype.is_decimal()):
            return
        import polars as pl

        floats = values.cast(pl.Float64).fill_nan(None)
        odd = floats.filter(floats != floats.round())
        if len(odd):
            raise UserError(
                f"{self._label}: {len(odd):,} of {len(values):,} values are not whole numbers, first "
                f"{odd.head(3).to_list()}; for numbers, use Numeric or Bucketized"
            )

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
        import polars as pl

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

    def _few_ids(self, values: Iterable[Any], prefix: int | None = None) -> Ids:
        """Return the ids (T,) of a few raw values, as :meth:`_ids` of their texts."""
        texts = [category_text(value, self.dates) for value in values]
        if prefix is not None:
            texts = [text and text[:prefix] for text in texts]
        if self.num_buckets is None:
            known = self._id_of
            return np.array([known.get(text, 0) for text in texts], np.int32)
        hashed = [0 if text is None else hash_text(text) % self.num_buckets + 1 for text in texts]
        return np.array(hashed, np.int32)

    def _read_values(self, texts: Iterable[str], ids: Iterable[int]) -> list[ReadValue]:
        """Return the values (T,) of which the texts and the ids are given."""
        known = (None if number and self.num_buckets is not None else number != 0 for number in ids)
        return [ReadValue(*pair) for pair in zip(texts, known, strict=True)]

    @cached_property
    def _id_of(self) -> dict[str | None, int]:
        """The id of each known value."""
        return {value: number for number, value in enumerate(self.vocabulary or (), 1)}
