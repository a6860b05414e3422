"""The texts of raw columns and of a few raw values: checked, and truncated with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import by_value
from dssm_lightning.features.raw_values import is_unicode, plain, text_of
from dssm_lightning.features.text.character_kinds import is_visible
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl

MAX_CHARACTERS = 100_000
"""Longest text; longer texts are truncated. A novel in one cell would be a row of a million ids in its batches."""


def text_column(
    feature: Feature, column: pl.Series, on_empty: Literal["error", "allow"], max_characters: int
) -> pl.Series:
    """Check a column (B,) of texts and truncate each text to ``max_characters``, with a warning.

    Raises:
        UserError: the column does not hold texts, or, with ``on_empty="error"``, a text is null or has no visible
            character.
    """
    import polars as pl

    if column.dtype == pl.Object:
        column = pl.Series(column.name, by_value(feature, column, _text), dtype=pl.String)
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} holds {column.dtype}, not text; "
            f"{_remedy(column.dtype, feature.source_column)}"
        )
    texts = _truncated(feature, column.cast(pl.String), max_characters)
    if on_empty == "error":
        empty = (~texts.str.contains(r"[^\p{Z}\p{Cc}]").fill_null(False)).arg_true()
        if len(empty):
            raise UserError(
                f"{feature._label}: {len(empty):,} of {len(texts):,} texts are null or empty, the first in row "
                f"{empty[0]} of column {feature.source_column!r}; fill or remove them, or set `on_empty: allow` to "
                "encode them as texts without words"
            )
    return texts


def few_texts(
    feature: Feature, values: Sequence[Any], on_empty: Literal["error", "allow"], max_characters: int
) -> list[str] | None:
    """Return the texts of raw values (B,) as :func:`text_column` does, without Polars; None if it must decide."""
    texts, long = [], []
    for row, value in enumerate(values):
        text = plain(value)
        text = "" if text is None else text
        if type(text) is not str or not is_unicode(text):
            return None
        if len(text) > max_characters:
            long.append((row, len(text)))
            text = text[:max_characters]
        texts.append(text)
    if on_empty == "error" and not all(map(is_visible, texts)):
        return None
    if long:
        _warn_of_long(feature, len(long), len(texts), max_characters, *long[0])
    return texts


def text_value(value: Any) -> str | None:
    """Return a raw value that is a text which can be encoded; None for any other value."""
    text = plain(value)
    return text if isinstance(text, str) and is_unicode(text) else None


def _text(value: Any) -> str | None:
    value = plain(value)
    if value is not None and not isinstance(value, str):
        raise UserError(f"a value of type {type(value).__name__} is no text; write it as text")
    return text_of(value)


def _remedy(dtype: pl.DataType, column: str) -> str:
    """Return advice on a column that holds no text."""
    if dtype.is_numeric():
        return (
            f"if the numbers are names or codes, make them text (`dtypes: {{{column}: text}}` of Files, a cast to "
            "String, or quotes around a query's value); else use Numeric, Bucketized or Categorical"
        )
    if dtype.is_nested():
        return "join the lists to one text, or use CategoricalList"
    return "cast the column to String, or use another class of feature"


def _truncated(feature: Feature, texts: pl.Series, limit: int) -> pl.Series:
    long = (
        texts.str.len_bytes() > limit
    ).arg_true()  # cheap first test: a text has at most as many characters as bytes
    lengths = texts[long].str.len_chars()
    long, lengths = long.filter(lengths > limit), lengths.filter(lengths > limit)
    if len(long) == 0:
        return texts
    _warn_of_long(feature, len(long), len(texts), limit, long[0], lengths[0])
    truncated: pl.Series = texts.str.head(limit)
    return truncated


def _warn_of_long(feature: Feature, long: int, of: int, limit: int, first_row: int, first_length: int) -> None:
    warnings.warn(
        f"{feature._label}: {long:,} of {of:,} texts have more than {limit:,} characters, the first "
        f"({first_length:,}) in row {first_row} of column {feature.source_column!r}; they are truncated "
        "(max_characters sets the limit)",
        stacklevel=4,
    )
