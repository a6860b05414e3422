"""The candidates that a query liked or saw before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.base import Feature, has_ids, table_rows
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.features.raw_columns import ENTRY, as_strings, by_value, flatten
from dssm_lightning.features.raw_numbers import read_numbers
from dssm_lightning.features.raw_values import NUMBERS, shown
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice, require_fraction
from dssm_lightning.utils.ragged import Column, Ragged

CANDIDATE = "candidate"
"""Value of ``of`` for a history of whole candidates."""

_ENTRY = 'an object {"id": …, "seconds": seconds ago}'
_CHOICES = {"events": ("liked", "shown", "all"), "order": ("time", "leave_one_out"), "age": ("events", "seconds")}


@dataclass(frozen=True, kw_only=True)
class History(Feature):
    """The earlier candidates of a query, oldest first: :class:`Ragged` of a candidate feature's ids.

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

    def encode(self, column: pl.Series) -> Ragged:
        """Encode lists (B,) of raw values of the candidate feature, oldest first; null becomes an empty row.

        A candidate that was not in training is kept with the unknown id 0. With ``age="seconds"``, an entry is a struct
        with the fields ``id`` and ``seconds``, the time since the entry.
        """
        assert self.item is not None
        values, offsets, age = self._served(column)
        ids = self.item.encode(values)
        return entries(ids, offsets, age)

    def encode_rows(self, column: pl.Series, ids: pl.Series) -> Ragged:
        """Encode lists (B,) of raw candidate ids as positions in ``ids`` (N,), for a history of whole candidates.

        Ids are compared as categories are, each by itself. An id that is not in ``ids`` is removed.
        """
        values, offsets, age = self._served(column)
        rows = pl.DataFrame({"id": as_strings(self, ids), "row": pl.int_range(len(ids), eager=True)})
        entry_ids = pl.DataFrame({"id": as_strings(self, values)})
        found = entry_ids.join(rows, on="id", how="left", maintain_order="left")["row"]
        known = torch.from_numpy(found.is_not_null().to_numpy().copy())
        return Ragged(torch.from_numpy(found.fill_null(-1).to_numpy().copy()), offsets, age).only(known)

    def _served(self, column: pl.Series) -> tuple[pl.Series, Tensor, Tensor]:
        """Return raw values (T,), offsets (B + 1,) and ages (T,) of lists that the caller gives."""
        values, offsets = flatten(self, column, self.max_length)
        if self.age == "seconds":
            ids, seconds = self._dated_entries(values)
            return ids, offsets, self._seconds(seconds)
        rows = Ragged(torch.arange(len(values)), offsets).rows
        return values, offsets, (offsets[1:][rows] - torch.arange(len(values))).float()

    def _dated_entries(self, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return the ids (T,) and the seconds (T,) of entries ``{"id": …, "seconds": …}``."""
        if isinstance(values.dtype, pl.Struct) and {f.name for f in values.dtype.fields} == {"id", "seconds"}:
            return values.struct.field("id"), values.struct.field("seconds")
        if values.dtype not in (pl.Object, pl.Null) and len(values):
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds lists of {values.dtype}; with `age: seconds`, an "
                f"entry must be {_ENTRY}"
            )

        def pair(value: Any) -> tuple[Any, Any]:
            if not isinstance(value, dict) or value.keys() != {"id", "seconds"}:
                raise UserError(f"with `age: seconds`, an entry must be {_ENTRY}")
            return value["id"], value["seconds"]

        pairs = by_value(self, values, pair)
        ids, seconds = ([pair[place] for pair in pairs] for place in (0, 1))
        return raw_column(ids, ENTRY), raw_column(seconds, ENTRY)

    def _seconds(self, column: pl.Series) -> Tensor:
        with np.errstate(over="ignore"):
            seconds = read_numbers(self, column, NUMBERS).values.astype(np.float32)
        wrong = np.flatnonzero(~(np.isfinite(seconds) & (seconds >= 0)))
        if len(wrong):
            raise UserError(
                f"{self._label}: `seconds` is {shown(column[int(wrong[0])])} in {len(wrong):,} of {len(seconds):,} "
                "entries; it must be the time since the entry: at least 0 and finite in float32"
            )
        return torch.from_numpy(seconds)


def entries(ids: Column, offsets: Tensor, age: Tensor) -> Ragged:
    """Group the ids of T entries into B rows, with the age of each id.

    Args:
        ids: (T,) with one id for each entry, or Ragged of T rows with any number of ids.
        offsets: (B + 1,) where the entries of each row begin.
        age: (T,) age of each entry.
    """
    if isinstance(ids, Ragged):
        return Ragged(ids.values, ids.offsets[offsets], torch.repeat_interleave(age, ids.lengths))
    assert isinstance(ids, Tensor)
    return Ragged(ids, offsets, age)
