"""What a query liked before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.features.raw_columns import flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged

CANDIDATE = "candidate"
"""What ``of`` says where entries are whole candidates."""

_CHOICES = {"events": ("liked", "shown", "all"), "order": ("time", "leave_one_out"), "age": ("events", "seconds")}


@dataclass(frozen=True, kw_only=True)
class History(Feature):
    """What the query liked before, oldest first: :class:`Ragged` of a candidate feature's ids, or of whole candidates.

    A feature of several ids for each candidate (words of a title, genres) gives those of all entries, one entry's after
    another's: with ``max_length: 1`` the title of what was liked last reads as if it were a text of the query.

    It reads no column of a table: in training and evaluation the data module assembles it from the training rows,
    without the candidate that is to be predicted. Only when serving does it read raw ids, which the caller gives.

    In batches by query (``batch_by: query`` of the data module) a history by time is given as
    :class:`~dssm_lightning.utils.ragged.Prefixes`: one sequence for each query, of which each event has seen a part
    (unless an entry has several ids: then each event has its own).

    Raises:
        ValueError: an unknown choice, a length below 1, or a dropout outside [0, 1).
    """

    of: str
    """Name of the candidate feature whose ids stand for a candidate, a Categorical of its id as a rule; or "candidate":
    the embeddings that the candidate tower gives of whole candidates."""
    events: Literal["liked", "shown", "all"] = "liked"
    """Which training events: those of label 1, those of label 0 (shown and not liked), or both."""
    order: Literal["time", "leave_one_out"] = "leave_one_out"
    """"time": what happened strictly before the event. "leave_one_out": everything but the target itself."""
    age: Literal["events", "seconds"] = "events"
    """What ages count. "events": back from the newest entry, which has age 1. "seconds": how far the time column lies
    from the event's (or, where a whole query is ranked, from its newest entry's)."""
    max_length: int | None = None
    """Keep this many of the newest entries; None keeps all."""
    dropout: float = 0.0
    """Probability with which training leaves an entry out of a history."""
    item: Feature | None = None
    """The fitted candidate feature that ``of`` names; :meth:`bind` fills it in."""

    def __post_init__(self) -> None:
        for argument, possible in _CHOICES.items():
            if getattr(self, argument) not in possible:
                raise UserError(
                    f"{self._label}: {argument} must be one of {', '.join(possible)}, found {getattr(self, argument)!r}"
                )
        if self.max_length is not None and self.max_length < 1:
            raise UserError(
                f"{self._label}: max_length must be at least 1, found {self.max_length}; leave it out to keep all"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"{self._label}: dropout must lie in [0, 1), found {self.dropout}")

    @property
    def _label(self) -> str:
        return f"History feature {self.name!r}"

    @property
    def of_candidates(self) -> bool:
        """Whether entries are whole candidates, as the candidate tower embeds them."""
        return self.of == CANDIDATE

    @property
    def needs_time(self) -> bool:
        """Whether there is nothing to assemble without a time column."""
        return self.order == "time" or self.age == "seconds"

    @property
    def is_fitted(self) -> bool:
        """Whether the candidate feature is bound and fitted (whole candidates need none)."""
        return self.of_candidates or (self.item is not None and self.item.is_fitted)

    @property
    def has_one_id_each(self) -> bool:
        """Whether an entry is one id, and not any number of them."""
        return self.item is None or isinstance(self.item, Categorical | Bucketized)

    @property
    def has_prefixes(self) -> bool:
        """Whether the events of a query can share one sequence."""
        return self.order == "time" and self.has_one_id_each

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table, which are the candidate feature's."""
        assert self.item is not None, "whole candidates have no table"
        rows: int = self.item.cardinality  # type: ignore[attr-defined]  # `bind` takes no feature without it
        return rows

    def bind(self, item: Feature) -> History:
        """A copy that encodes its entries by the fitted candidate feature.

        Raises:
            ValueError: ``item`` has no ids.
        """
        if not hasattr(type(item), "cardinality"):
            raise UserError(
                f"{self._label}: `of` must name a candidate feature with ids (a Categorical, a list of categories, "
                f"a text), {self.of!r} is {type(item).__name__}"
            )
        return replace(self, item=item)

    def encode(self, column: pl.Series) -> Ragged:
        """(B,) lists of raw values of the candidate feature, oldest first -> Ragged of B rows; null is an empty one.

        Candidates that training never saw count, as unknown ones (id 0). Where ages are seconds, an entry is a struct
        with the fields ``id`` and ``seconds``: how long ago it happened.
        """
        assert self.item is not None
        values, offsets, age = self._served(column)
        ids = self.item.encode(values)
        return entries(ids, offsets, age)

    def encode_rows(self, column: pl.Series, ids: pl.Series) -> Ragged:
        """(B,) lists of raw candidate ids -> Ragged of rows among ``ids`` (N,), for a history of whole candidates.

        An id that is not among them is left out: nothing is known of it.
        """
        values, offsets, age = self._served(column)
        rows = pl.DataFrame({"id": ids.cast(pl.String), "row": pl.int_range(len(ids), eager=True)})
        asked = pl.DataFrame({"id": values.cast(pl.String)})
        found = asked.join(rows, on="id", how="left", maintain_order="left")["row"]
        known = torch.from_numpy(found.is_not_null().to_numpy().copy())
        return Ragged(torch.from_numpy(found.fill_null(-1).to_numpy().copy()), offsets, age).only(known)

    def _served(self, column: pl.Series) -> tuple[pl.Series, Tensor, Tensor]:
        """(T,) raw values, (B + 1,) offsets, (T,) ages."""
        values, offsets = flatten(self, column, self.max_length)
        if self.age == "seconds":
            if not isinstance(values.dtype, pl.Struct) or {f.name for f in values.dtype.fields} != {"id", "seconds"}:
                raise UserError(
                    f"{self._label}: its ages are seconds, so an entry must be an object "
                    f'{{"id": …, "seconds": how long ago}}, found {values.dtype}'
                )
            seconds = values.struct.field("seconds").cast(pl.Float32)
            return values.struct.field("id"), offsets, torch.from_numpy(seconds.to_numpy().copy())
        rows = Ragged(torch.arange(len(values)), offsets).rows
        return values, offsets, (offsets[1:][rows] - torch.arange(len(values))).float()


def entries(ids: Column, offsets: Tensor, age: Tensor) -> Ragged:
    """T entries' ids, of which each has one (T,) or any number (Ragged of T rows), as B rows of ids with their ages.

    Args:
        ids: of the entries.
        offsets: (B + 1,) where each row's entries begin.
        age: (T,) of the entries.
    """
    if isinstance(ids, Ragged):
        return Ragged(ids.values, ids.offsets[offsets], torch.repeat_interleave(age, ids.lengths))
    assert isinstance(ids, Tensor)
    return Ragged(ids, offsets, age)
