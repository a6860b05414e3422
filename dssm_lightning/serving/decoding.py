"""Queries and candidates of a request as records that features may see: within the limits, and never a path."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from dssm_lightning.features.schema import Schema
from dssm_lightning.features.value_limits import ValueLimits, picture_columns
from dssm_lightning.retrieval.raw_records import columns_of, record_of
from dssm_lightning.retrieval.towers import Side
from dssm_lightning.serving.settings import Limits
from dssm_lightning.utils.errors import UserError

FEW_CHARACTERS, FEW_ENTRIES = 500, 100
"""A query of more takes more than some hundred microseconds to encode."""


class RecordReader:
    """Reads the queries, or the candidates, of requests.

    Args:
        side: "query" or "candidate".
        schema: the features of this side.
        limits: of values.

    Example:
        >>> from dssm_lightning.features import HashedWords
        >>> reader = RecordReader("query", Schema((HashedWords(name="text", num_buckets=9),)), Limits(max_text=12))
        >>> reader.read("red shoes"), reader.is_small("red shoes")
        ({'text': 'red shoes'}, True)
    """

    def __init__(self, side: Side, schema: Schema, limits: Limits) -> None:
        self.side, self.columns, self.pictures = side, columns_of(schema), picture_columns(schema)
        self._limits = ValueLimits(limits.max_text, limits.max_history, limits.max_pixels)

    def read(self, value: Any) -> Mapping[str, Any]:
        """Return the values by column name.

        A picture is the base64 text of its file, also as a ``data:`` URL. It becomes bytes here, since a feature would
        take a text for a path.

        Raises:
            UserError: an unknown column, a value above a limit, or a picture that is none.
        """
        record = record_of(self.side, value, self.columns)
        for column in self.pictures:
            if record.get(column) is not None:
                record = {**record, column: self._picture(column, record[column])}
        self._limits.require(self.side, record, self.pictures)
        return record

    def is_small(self, value: Any) -> bool:
        """Return whether a value is read and encoded in little time."""
        if self.pictures:
            return False
        if isinstance(value, str):
            return len(value) <= FEW_CHARACTERS
        if not isinstance(value, Mapping) or len(value) > FEW_ENTRIES:
            return False
        return all(map(_is_small, value)) and all(map(_is_small, value.values()))

    def _picture(self, column: str, value: Any) -> bytes:
        what = f"{self.side} column {column!r}"
        if not isinstance(value, str):
            raise UserError(f"{what} holds a picture; give its file as a base64 text, not a {type(value).__name__}")
        text = value.partition(",")[2] if value.startswith("data:") else value
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:  # ValueError: letters beyond ASCII
            raise UserError(
                f"{what} holds a text of {len(value):,} characters that is not base64; a picture is the base64 text of "
                "its file, and neither a path nor an address"
            ) from error


def _is_small(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= FEW_CHARACTERS
    if isinstance(value, list):
        return (
            len(value) <= FEW_ENTRIES
            and not any(isinstance(each, list | dict) for each in value)
            and (sum(len(each) for each in value if isinstance(each, str)) <= FEW_CHARACTERS)
        )
    return not isinstance(value, dict)
