"""Sizes of raw values, which a server compares with its limits before anything is encoded or decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dssm_lightning.features.image import Image
from dssm_lightning.features.raw_values import plain
from dssm_lightning.features.schema import Schema
from dssm_lightning.utils.errors import UserError


@dataclass(frozen=True)
class ValueLimits:
    """The largest values that are accepted; None = no limit.

    Example:
        >>> ValueLimits(characters=5).require("query", {"text": "red shoes"}, ())
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: query column 'text' has 9 characters; at most 5 are accepted
    """

    characters: int | None = None
    """Of a text, alone or in a list."""
    entries: int | None = None
    """Of a list, such as a history, with those of the lists in it."""
    pixels: int | None = None
    """Of a picture, by its header; nothing is decoded."""

    def require(self, side: str, record: Mapping[str, Any], pictures: tuple[str, ...] | list[str]) -> None:
        """Refuse a record with a value that is larger.

        Args:
            side: "query" or "candidate", for messages.
            record: raw values by column name.
            pictures: the columns whose bytes are pictures, as :func:`picture_columns` returns them.

        Raises:
            UserError: such a value, or bytes that are no picture; the message names the column.
        """
        for column, value in record.items():
            for limit, found, unit in (
                (self.characters, characters_of, "characters"),
                (self.entries, entries_in, "entries"),
            ):
                size = 0 if limit is None else found(value)
                if limit is not None and size > limit:
                    raise UserError(f"{side} column {column!r} has {size:,} {unit}; at most {limit:,} are accepted")
            if self.pixels is not None and column in pictures and isinstance(value, bytes) and value:
                self._require_pixels(side, column, value, self.pixels)

    def _require_pixels(self, side: str, column: str, picture: bytes, limit: int) -> None:
        try:
            width, height = picture_size(picture)
        except UserError as error:
            raise UserError(f"{side} column {column!r} holds {len(picture):,} bytes: {error}") from error
        if width * height > limit:
            size = f"{width:,} × {height:,} pixels"
            raise UserError(f"{side} column {column!r} holds a picture of {size}; at most {limit:,} are accepted")


def characters_of(value: Any) -> int:
    """Return the number of characters of a text, or of the longest text in lists and objects; 0 without a text.

    Example:
        >>> characters_of(["red", {"id": "shoes"}]), characters_of(7)
        (5, 0)
    """
    if isinstance(value, str):
        return len(value)
    return max((len(each) for each in _leaves(value) if isinstance(each, str)), default=0)


def entries_in(value: Any) -> int:
    """Return the number of entries of a list, with those of the lists and objects in it; 0 of any other value.

    Example:
        >>> entries_in([1, [2, 3]]), entries_in("red")
        (4, 0)
    """
    if value is None or isinstance(value, str | bytes | int | float):
        return 0
    total, waiting = 0, [value]
    while waiting:  # values may be nested to any depth
        inner = _inner(waiting.pop())
        total += len(inner)
        waiting += inner
    return total


def _leaves(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        inner = _inner(each)
        waiting += inner
        if not inner:
            found.append(each)
    return found


def _inner(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    value = plain(value)
    return value if isinstance(value, list) else []


def picture_columns(schema: Schema) -> list[str]:
    """Return the columns of pictures: a server accepts bytes for them, and never a text, which would be a path.

    Example:
        >>> picture_columns(Schema((Image(name="small", column="poster"), Image(name="poster", size=128))))
        ['poster']
    """
    return list(dict.fromkeys(feature.source_column for feature in schema if isinstance(feature, Image)))


def picture_size(picture: bytes) -> tuple[int, int]:
    """Return the width and the height of a picture in pixels, which its header says.

    Raises:
        UserError: the bytes are no picture, or one that is never decoded.
    """
    from dssm_lightning.features.picture_files import header_of  # Pillow is needed for pictures alone

    return header_of(picture)
