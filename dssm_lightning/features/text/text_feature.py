"""The base class of text features: checks of a text column, and rows of ids of different lengths."""

from __future__ import annotations

import unicodedata
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import by_value
from dssm_lightning.features.raw_values import plain, text_of
from dssm_lightning.features.text.words_and_letters import VERSION, Counts, has_foreign, normalised
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import require_buckets
from dssm_lightning.utils.ragged import Ragged

MANY_PER_FOREIGN = 50
"""ASCII and other texts are encoded separately if there are at least this many texts for each text that is not
ASCII."""
MAX_CHARACTERS = 100_000
"""Longest text; longer texts are truncated. A novel in one cell would be a row of a million ids in its batches."""

TextT = TypeVar("TextT", bound="TextFeature")


def text_column(
    feature: Feature, column: pl.Series, on_empty: Literal["error", "allow"], max_characters: int
) -> pl.Series:
    """Check a column (B,) of texts and truncate each text to ``max_characters``, with a warning.

    Raises:
        UserError: the column does not hold texts, or, with ``on_empty="error"``, a text is null or has no visible
            character.
    """
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
    warnings.warn(
        f"{feature._label}: {len(long):,} of {len(texts):,} texts have more than {limit:,} characters, the first "
        f"({lengths[0]:,}) in row {long[0]} of column {feature.source_column!r}; they are truncated "
        "(max_characters sets the limit)",
        stacklevel=3,
    )
    truncated: pl.Series = texts.str.head(limit)
    return truncated


def ragged(ids: NDArray[np.int32], lengths: Counts, max_length: int | None = None) -> Ragged:
    """Make rows of the given lengths (B,), each truncated to its first ``max_length`` ids."""
    if max_length is not None:
        place = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # of each id in its row
        ids, lengths = ids[place < max_length], np.minimum(lengths, max_length)
    return Ragged.from_lengths(torch.from_numpy(ids), torch.from_numpy(lengths))


def inserted(many: Ragged, few: Ragged, place: Counts) -> Ragged:
    """Merge the rows of two columns: row i of ``few`` becomes row ``place[i]`` (ascending)."""
    is_few = np.zeros(len(many.lengths) + len(few.lengths), np.bool_)
    is_few[place] = True
    lengths = np.empty(len(is_few), np.int64)
    lengths[is_few], lengths[~is_few] = few.lengths.numpy(), many.lengths.numpy()
    before = torch.from_numpy(place - np.arange(len(place)))  # rows of ``many`` before each row of ``few``
    stretches, rows = many.values.tensor_split(many.offsets[before]), few.values.tensor_split(few.offsets[1:-1])
    values = [part for pair in zip(stretches, rows, strict=False) for part in pair]
    return Ragged.from_lengths(torch.cat([*values, stretches[-1]]), torch.from_numpy(lengths))


def require_sizes(feature: Feature, **sizes: int | None) -> None:
    """Refuse a size below 1 or above the largest int32 id; None passes."""
    for name, size in sizes.items():
        require_buckets(feature._label, name, size)


@dataclass(frozen=True, kw_only=True)
class TextFeature(Feature):
    """A column of texts, split into words as ``words_and_letters.py`` describes; the base class of text features.

    A saved feature records two versions that determine the words and ids of a text. With another ``text_version``, the
    feature is refused. With another ``unicode_version``, a column that is not ASCII is encoded with a warning: Unicode
    never changes the properties of a known character, so only characters that one of the versions does not know can
    differ.

    Subclasses implement ``_encode`` for normalised texts, and ``_learn`` if they have a vocabulary.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import HashedWords
        >>> words = HashedWords(name="title", on_empty="allow").encode(pl.Series(["Toy Story", "TOY, story!", None]))
        >>> words.values.tolist(), words.lengths.tolist()
        ([39540, 56852, 39540, 56852], [2, 2, 0])
    """

    reads_text = True

    on_empty: Literal["error", "allow"] = "error"
    """Treatment of a null, empty or blank text. "error": raise an error. "allow": encode it as a row without values,
    whose bag is the zero vector."""
    max_characters: int = MAX_CHARACTERS
    """Longest text. Longer texts are truncated, with a warning that has their number."""
    text_version: int = VERSION
    """Version of the algorithm that splits and hashes texts."""
    unicode_version: str | None = None
    """Version of Python's Unicode tables; set by ``fit``."""

    def __post_init__(self) -> None:
        require_sizes(self, max_characters=self.max_characters)
        if self.text_version != VERSION:
            raise UserError(
                f"{self._label}: text_version is {self.text_version}, but this release of dssm_lightning has version "
                f"{VERSION}; use the release that fitted the feature, or fit the feature again"
            )

    def fit(self: TextT, column: pl.Series) -> TextT:
        """Return a copy with the version of the Unicode tables, and with a vocabulary if the class has one."""
        texts = text_column(self, column, self.on_empty, self.max_characters)
        return replace(self, unicode_version=unicodedata.unidata_version, **self._learn(normalised(texts)))

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        """Return the fields that are learnt from normalised texts."""
        return {}

    def encode(self, column: pl.Series) -> Ragged | torch.Tensor:
        """Encode texts (B,) as B rows of int32 ids, or as vectors. A text's row does not depend on the other texts.

        Raises:
            UserError: the feature is not fitted, the column does not hold texts, or, with ``on_empty="error"``, a text
                is empty.
        """
        if not self.is_fitted:
            raise UserError(f"{self._label}: vocabulary is not known yet; call `fit`, or give `vocabulary`")
        texts = text_column(self, column, self.on_empty, self.max_characters)
        if self.unicode_version not in (None, unicodedata.unidata_version) and has_foreign(texts.fill_null("")).any():
            warnings.warn(
                f"{self._label} was fitted with Unicode {self.unicode_version}, and this Python has Unicode "
                f"{unicodedata.unidata_version}: characters that only one of them knows may be encoded differently",
                stacklevel=2,
            )
        return self._encode_in_two_parts(texts.fill_null(""))

    def _encode_in_two_parts(self, texts: pl.Series) -> Ragged | torch.Tensor:
        """Encode texts; if few are not ASCII, encode those separately, because they slow down a whole column."""
        foreign = has_foreign(texts)
        place = foreign.arg_true().to_numpy().astype(np.int64)
        if not 0 < len(place) <= len(texts) // MANY_PER_FOREIGN:
            return self._encode(normalised(texts))
        many = self._encode(texts.filter(~foreign).str.to_lowercase())  # equals `normalised` for ASCII
        few = self._encode(normalised(texts.filter(foreign)))
        if isinstance(many, Ragged) and isinstance(few, Ragged):
            return inserted(many, few, place)
        assert isinstance(many, torch.Tensor)
        assert isinstance(few, torch.Tensor)
        vectors = many.new_empty((len(texts), *many.shape[1:]))
        is_foreign = torch.from_numpy(foreign.to_numpy().copy())
        vectors[~is_foreign], vectors[is_foreign] = many, few
        return vectors

    def _encode(self, texts: pl.Series) -> Ragged | torch.Tensor:
        """Encode normalised texts (B,)."""
        raise NotImplementedError
