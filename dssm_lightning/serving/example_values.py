"""Examples of queries and candidates that a bundle answers, made from its own features and its own candidates."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    History,
    Image,
    LikedBy,
    Numeric,
    Vector,
)
from dssm_lightning.features.raw_values import DATES, TIMES
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.towers import Side
from dssm_lightning.utils.errors import UserError

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEElEQVR4nGNsYIAAJgaKGAAmCACQXTClHgAAAABJRU5ErkJggg=="
"""A grey PNG of 8 × 8 pixels, in base64."""
WORD = "example"
"""A text, where nothing is known of the texts."""
_EPOCH = datetime.datetime(1970, 1, 1)
_ENTRIES = 2  # of a list
_ROWS = 20  # that are searched for a text
_HOUR = 3600


class Examples:
    """Values that a bundle's features accept, as clients write them in JSON.

    Args:
        retriever: of the bundle.
    """

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._rows = retriever.corpus.rows
        self._query, self._candidate = retriever.schemas.query, retriever.schemas.candidate

    @property
    def id(self) -> Any:
        """The id of the first candidate."""
        return self._rows.id(0)

    @property
    def filter(self) -> str:
        """A filter that keeps every candidate, whatever the kind of the column."""
        return f"`{self._rows.columns[0]}` != null"

    def words(self) -> str:
        """Return a word that a shown column of a candidate contains."""
        texts = [value for row in self._first_rows() for value in row if isinstance(value, str)]
        found = [word for text in texts for word in text.split() if word.isalpha() and len(word) > 1]
        return found[0] if found else WORD

    def query(self) -> Any:
        """Return a query; None if no example is accepted."""
        return self._accepted("query", self._record(self._query, {}))

    def candidate(self) -> Any:
        """Return a candidate: the first one, with examples of what the bundle does not hold of it."""
        held = dict(zip(self._rows.columns, self._rows.values(0), strict=True))
        return self._accepted("candidate", self._record(self._candidate, held))

    def _accepted(self, side: Side, record: dict[str, Any]) -> Any:
        """Return the first accepted form of an example: a bare text where one column is read."""
        encode = self._retriever.encode_query if side == "query" else self._retriever.encode_candidate
        decoded = {name: _file(value) for name, value in record.items()}
        try:
            encode(decoded)
        except UserError:
            return None
        values = list(record.values())
        columns = {feature.source_column for feature in (self._query if side == "query" else self._candidate)}
        return values[0] if len(columns) == 1 and len(values) == 1 and isinstance(values[0], str) else record

    def _record(self, schema: Schema, held: Mapping[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for feature in schema:
            column = feature.source_column
            if record.get(column) is not None:
                continue
            known = held.get(column) if not isinstance(feature, Image) else None
            value = known if known is not None else self._value(feature)
            if value is not None:
                record[column] = value
        return record

    def _value(self, feature: Feature) -> Any:
        """Return an example of a feature's raw value; None for a class of which nothing is known."""
        vocabulary = getattr(feature, "vocabulary", None) or ()
        if isinstance(feature, Categorical):
            return vocabulary[0] if vocabulary else WORD
        if isinstance(feature, CategoricalList):
            return list(vocabulary[:_ENTRIES]) or [WORD]
        if isinstance(feature, Numeric):
            return _number(feature.mean or 0.0, feature.holds)
        if isinstance(feature, Bucketized):
            boundaries = feature.boundaries or (0.0,)
            return _number(boundaries[len(boundaries) // 2], feature.holds)
        if isinstance(feature, Vector):
            return [0.5] * feature.width
        if isinstance(feature, Image):
            return PICTURE
        if isinstance(feature, History):
            return self._history(feature)
        if isinstance(feature, LikedBy):
            return [] if feature.item is None else self._entries(feature.item)
        if feature.reads_text:
            return " ".join(vocabulary[:_ENTRIES]) or self._text(feature)
        return None

    def _history(self, feature: History) -> list[Any]:
        if feature.item is None:
            entries = [self._rows.id(row) for row in range(min(_ENTRIES, len(self._rows)))]
        else:
            entries = self._entries(feature.item)
        return entries if feature.age == "events" else [{"id": entry, "seconds": _HOUR} for entry in entries]

    def _entries(self, item: Feature) -> list[Any]:
        vocabulary = list(getattr(item, "vocabulary", None) or ())[:_ENTRIES]
        if vocabulary and isinstance(item, Categorical):
            return vocabulary
        value = self._value(item)
        return [] if value is None else [value]

    def _text(self, feature: Feature) -> str:
        """Return a word of the candidates' own texts: of the same column if there is one."""
        columns = self._rows.columns
        read = self._candidate.text_columns
        wanted = [name for name in (feature.source_column, *read, *self._retriever.display) if name in columns]
        for name in wanted:
            for row in self._first_rows():
                value = row[columns.index(name)]
                words = value.split() if isinstance(value, str) else []
                found = [word for word in words if word.isalpha() and len(word) > 2]
                if found:
                    return str(found[0])
        return WORD

    def _first_rows(self) -> list[list[Any]]:
        return [self._rows.values(row) for row in range(min(_ROWS, len(self._rows)))]


def _number(value: float, kind: str | None) -> Any:
    """Return a number as a client writes it: dates and times as text."""
    if kind == DATES:
        return (_EPOCH + datetime.timedelta(seconds=round(value))).isoformat()
    if kind == TIMES:
        return (_EPOCH + datetime.timedelta(seconds=round(value) % 86_400)).time().isoformat()
    return int(value) if value == int(value) else round(value, 6)


def _file(value: Any) -> Any:
    import base64

    return base64.b64decode(value) if value == PICTURE else value
