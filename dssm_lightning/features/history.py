"""The candidates that a query liked or saw before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature, has_ids, table_rows
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.few_values import flatten_values, read_number_values
from dssm_lightning.features.history_entries import (
    ages_of,
    cut_entries,
    dated_entries,
    events_ago,
    grouped,
    id_and_seconds,
    read_candidates,
    read_entries,
    read_seconds,
)
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.features.raw_columns import as_strings, flatten
from dssm_lightning.features.raw_values import NUMBERS, text_of
from dssm_lightning.features.readings import Reading, Truncation
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_fraction
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl

CANDIDATE = "candidate"
"""Value of ``of`` for a history of whole candidates."""

_CHOICES = {"events": ("liked", "shown", "all"), "order": ("time", "leave_one_out"), "age": ("events", "seconds")}


@dataclass(frozen=True, kw_only=True)
class History(Feature):
    """The earlier candidates of a query, oldest first: ragged ids of a candidate feature.

    If the candidate feature has several ids for each candidate (words of a title, genres), the ids of all entries are
    concatenated. With ``max_length: 1``, the title of the last liked candidate is read like a text of the query.
    With ``of: candidate``, the entries are whole candidates, embedded by the candidate tower.

    A history reads no column of a table. In training and evaluation, the data module assembles it from the training
    rows, without the candidate to predict. Only in serving does it read raw ids, which the caller gives.

    In batches by query (``batch_by: query`` of the data module), a history by time is a
    :class:`~dssm_lightning.utils.ragged.Prefixes`: the events of a query share one sequence. If an entry has several
    ids, each event has its own sequence.

    Raises:
        UserError: ``events``, ``order`` or ``age`` is unknown, ``max_length`` is below 1, or ``dropout`` is outside
            [0, 1).

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Categorical
        >>> film = Categorical(name="film", vocabulary=("Alien", "Heat", "Up"))
        >>> seen = History(name="seen", of="film", max_length=2).bind(film).encode(pl.Series([["Heat", "Up", "Alien"]]))
        >>> seen.values.tolist(), seen.age.tolist()
        ([3, 1], [2.0, 1.0])
    """

    of: str
    """Name of the candidate feature whose ids represent a candidate, usually a Categorical of the candidate's id.
    "candidate": use the candidate tower's embeddings of whole candidates."""
    events: Literal["liked", "shown", "all"] = "liked"
    """Training events in the history. "liked": label 1. "shown": label 0 (shown and not liked). "all": both."""
    order: Literal["time", "leave_one_out"] = "leave_one_out"
    """"time": the events strictly before the current event. "leave_one_out": all events except the target itself."""
    age: Literal["events", "seconds"] = "events"
    """Unit of the ages. "events": position counted from the newest entry, which has age 1. "seconds": time from the
    entry to the current event, or to the newest entry if the whole query is ranked."""
    max_length: int | None = None
    """Keep only the newest ``max_length`` entries; None keeps all."""
    dropout: float = 0.0
    """Probability of removing an entry from a history in training."""
    item: Feature | None = None
    """The fitted candidate feature that ``of`` names; set by :meth:`bind`."""

    def __post_init__(self) -> None:
        for argument, possible in _CHOICES.items():
            require_choice(self._label, argument, getattr(self, argument), possible)
        require_at_least(self._label, "max_length", self.max_length, hint="remove it to keep all entries")
        require_fraction(self._label, "dropout", self.dropout)

    @property
    def of_candidates(self) -> bool:
        """Whether entries are whole candidates, embedded by the candidate tower."""
        return self.of == CANDIDATE

    @property
    def needs_time(self) -> bool:
        """Whether the history cannot be assembled without a time column."""
        return self.order == "time" or self.age == "seconds"

    @property
    def is_fitted(self) -> bool:
        """Whether the candidate feature is bound and fitted; always true for whole candidates."""
        return self.of_candidates or (self.item is not None and self.item.is_fitted)

    @property
    def needs_value(self) -> bool:
        """Whether a missing history is refused: never, it is an empty one."""
        return False

    @property
    def has_one_id_each(self) -> bool:
        """Whether each entry has exactly one id."""
        return self.item is None or isinstance(self.item, Categorical | Bucketized)

    @property
    def has_prefixes(self) -> bool:
        """Whether the events of a query can share one sequence."""
        return self.order == "time" and self.has_one_id_each

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table, equal to the candidate feature's. Whole candidates have no table."""
        return table_rows(self.item)

    def bind(self, item: Feature) -> History:
        """Return a copy that encodes its entries with the fitted candidate feature.

        Raises:
            UserError: ``item`` has no ids.
        """
        if not has_ids(item):
            raise UserError(
                f"{self._label}: `of` is {self.of!r}, a {type(item).__name__}; it must name a candidate feature with "
                "ids (a category, a list of categories, or a text)"
            )
        return replace(self, item=item)

    def encode_array(self, column: pl.Series) -> RaggedArray:
        """Encode lists (B,) of raw values of the candidate feature, oldest first; null becomes an empty row.

        A candidate that was not in training is kept with the unknown id 0. With ``age="seconds"``, an entry is a struct
        with the fields ``id`` and ``seconds``, the time since the entry.
        """
        assert self.item is not None
        values, offsets, age = self._served(column)
        return grouped(self.item._encode_column(values), offsets, age)

    def _encode_few(self, values: Sequence[Any]) -> RaggedArray | None:
        assert self.item is not None
        entries, offsets, age = self._few_served(values)
        ids = self.item._encode_entries(entries)
        return None if ids is None else grouped(ids, offsets, age)

    def encode_rows(self, column: pl.Series, ids: pl.Series) -> RaggedArray:
        """Encode lists (B,) of raw candidate ids as positions in ``ids`` (N,), for a history of whole candidates.

        Ids are compared as categories are, each by itself. An id that is not in ``ids`` is removed.
        """
        import polars as pl

        values, offsets, age = self._served(column)
        rows = pl.DataFrame({"id": as_strings(self, ids), "row": pl.int_range(len(ids), eager=True)})
        entry_ids = pl.DataFrame({"id": as_strings(self, values)})
        found = entry_ids.join(rows, on="id", how="left", maintain_order="left")["row"]
        return RaggedArray(found.fill_null(-1).to_numpy(), offsets, age).only(found.is_not_null().to_numpy())

    def encode_ids(self, values: Sequence[Any], row_of: Callable[[str], int | None]) -> RaggedArray:
        """Encode lists (B,) of raw candidate ids as :meth:`encode_rows` does, one by one and without Polars.

        Args:
            values: (B,) raw lists, as a query has them.
            row_of: returns the row of a candidate's id as text (``raw_values.text_of``); None for an unknown id.

        Raises:
            UserError: as for :meth:`encode_rows`.

        Example:
            >>> History(name="seen", of="candidate").encode_ids([[7, "b"]], {"a": 0, "7": 1}.get).values.tolist()
            [1]
        """
        try:
            entries, offsets, age = self._few_served(values)
            texts = [text_of(entry) for entry in entries]
        except UserError:  # the rules of whole columns know the row
            ids, offsets, age = self._served(raw_column(values, self.source_column))
            texts = as_strings(self, ids).to_list()
        rows = [None if text is None else row_of(text) for text in texts]
        found = np.array([-1 if row is None else row for row in rows], np.int64)
        return RaggedArray(found, offsets, age).only(found >= 0)

    # -- what a history becomes ----------------------------------------------------------------------------------------

    def read(self, value: Any, row_of: Callable[[str], int | None] | None = None) -> Reading:
        """Return the values that the newest entries become, and which of them are known.

        Args:
            value: a raw list.
            row_of: as for :meth:`encode_ids`. Without it, nobody knows which whole candidates there are.

        Raises:
            UserError: as for :meth:`encode_values`.
        """
        if self.item is not None:
            self.encode_values([value])
            return read_entries(self, self.item, self._raw_ids(value), self.max_length, self.truncations(value))
        self.encode_ids([value], row_of or (lambda text: 0))
        return read_candidates(self, self._raw_ids(value), self.max_length, row_of, self.truncations(value))

    def truncations(self, value: Any) -> list[Truncation]:
        """Return whether there are more than ``max_length`` entries, and what the feature of the entries cuts off."""
        return cut_entries(self, self.item, value, self.max_length, self._raw_ids)

    def _raw_ids(self, value: Any) -> list[Any]:
        """Return the raw ids of all entries of a list."""
        entries, _ = flatten_values([value])
        return entries if self.age == "events" else [id_and_seconds(entry)[0] for entry in entries]

    def _few_served(self, values: Sequence[Any]) -> tuple[list[Any], NDArray[np.int64], NDArray[np.float32]]:
        """Return what :meth:`_served` returns for the column of a few raw values (B,)."""
        entries, offsets = flatten_values(values, self.max_length)
        if self.age == "events":
            return entries, offsets, events_ago(offsets)
        pairs = [id_and_seconds(entry) for entry in entries]
        seconds = np.array(read_number_values([pair[1] for pair in pairs], NUMBERS), np.float64)
        age, wrong = ages_of(seconds)
        if len(wrong):
            raise UserError("`seconds` is negative or not finite")
        return [pair[0] for pair in pairs], offsets, age

    def _served(self, column: pl.Series) -> tuple[pl.Series, NDArray[np.int64], NDArray[np.float32]]:
        """Return raw values (T,), offsets (B + 1,) and ages (T,) of lists that the caller gives."""
        values, offsets = flatten(self, column, self.max_length)
        if self.age == "seconds":
            ids, seconds = dated_entries(self, values)
            return ids, offsets, read_seconds(self, seconds)
        return values, offsets, events_ago(offsets)
