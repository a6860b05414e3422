"""What the features of text share: the checks of a column of texts, and the shape of what they encode."""

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
from dssm_lightning.features.text.words_and_letters import VERSION, Counts, has_foreign, normalised
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import MAX_BUCKETS
from dssm_lightning.utils.ragged import Ragged

MANY_PER_FOREIGN = 50
"""Texts for each one that is not ASCII, from which on the two kinds are encoded apart."""

TextT = TypeVar("TextT", bound="TextFeature")


MAX_CHARACTERS = 100_000
"""What a text is cut to: a novel in one cell would be a row of a million values in every batch that it stands in."""


def text_column(
    feature: Feature, column: pl.Series, on_empty: Literal["error", "allow"], max_characters: int
) -> pl.Series:
    """The column (B,) as texts, checked; what is longer than ``max_characters`` is cut, and counted in a warning.

    Raises:
        ValueError: the column holds no texts, or, with ``on_empty="error"``, some text is null or has nothing visible.
    """
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise UserError(
            f"feature {feature.name!r}: column {feature.source_column!r} holds {column.dtype}, not text; "
            "cast it to String, or declare another kind of feature"
        )
    texts = _shortened(feature, column.cast(pl.String), max_characters)
    if on_empty == "error":
        empty = (~texts.str.contains(r"[^\p{Z}\p{Cc}]").fill_null(False)).arg_true()
        if len(empty):
            raise UserError(
                f"feature {feature.name!r}: {len(empty):,} of {len(texts):,} texts are null or empty, the first in row "
                f"{empty[0]} of column {feature.source_column!r}; fill or drop them, "
                "or set on_empty: allow, which encodes them as no words"
            )
    return texts


def _shortened(feature: Feature, texts: pl.Series, limit: int) -> pl.Series:
    long = (texts.str.len_bytes() > limit).arg_true()  # no text has more characters than bytes
    lengths = texts[long].str.len_chars()
    long, lengths = long.filter(lengths > limit), lengths.filter(lengths > limit)
    if len(long) == 0:
        return texts
    warnings.warn(
        f"feature {feature.name!r}: {len(long):,} of {len(texts):,} texts have more than {limit:,} characters, the "
        f"first ({lengths[0]:,}) in row {long[0]} of column {feature.source_column!r}; what follows is left out "
        "(max_characters sets the limit)",
        stacklevel=3,
    )
    shortened: pl.Series = texts.str.head(limit)
    return shortened


def ragged(ids: NDArray[np.int32], lengths: Counts, max_length: int | None = None) -> Ragged:
    """Rows (B,) of the given lengths, each cut to its first ``max_length`` ids."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if max_length is not None:
        place = np.arange(len(ids)) - np.repeat(offsets[:-1], lengths)
        ids, lengths = ids[place < max_length], np.minimum(lengths, max_length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Ragged(torch.from_numpy(ids), torch.from_numpy(offsets))


def inserted(many: Ragged, few: Ragged, place: Counts) -> Ragged:
    """The rows of both; row i of ``few`` becomes row ``place[i]`` (ascending)."""
    is_few = np.zeros(len(many.lengths) + len(few.lengths), np.bool_)
    is_few[place] = True
    lengths = np.empty(len(is_few), np.int64)
    lengths[is_few], lengths[~is_few] = few.lengths.numpy(), many.lengths.numpy()
    before = torch.from_numpy(place - np.arange(len(place)))  # rows of ``many``
    stretches, rows = many.values.tensor_split(many.offsets[before]), few.values.tensor_split(few.offsets[1:-1])
    values = [part for pair in zip(stretches, rows, strict=False) for part in pair]
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    return Ragged(torch.cat([*values, stretches[-1]]), offsets)


def require_positive(feature: Feature, **sizes: int | None) -> None:
    """Raises ValueError where a size is given and is not at least 1 (or does not fit an int32 id)."""
    for name, size in sizes.items():
        if size is not None and not 1 <= size <= MAX_BUCKETS:
            raise UserError(f"feature {feature.name!r}: {name} is {size}; it must lie in 1 … {MAX_BUCKETS:,}")


@dataclass(frozen=True, kw_only=True)
class TextFeature(Feature):
    """A column of texts that is split into words the one way that ``letters.py`` describes.

    The two versions say which words and ids a text gets, so that a saved model never meets others unnoticed. Unicode's
    tables keep what they once said of a letter; with other tables than those of ``fit``, only a letter that one of both
    does not know yet can encode differently. So a text that is not ASCII then warns, and is encoded.
    """

    reads_text = True

    on_empty: Literal["error", "allow"] = "error"
    """What a null, empty or blank text is: an error, or a row without values (its bag is the zero vector)."""
    max_characters: int = MAX_CHARACTERS
    """What a text has beyond is left out, and such texts are counted in a warning."""
    text_version: int = VERSION
    """Version of the algorithm; there is one so far."""
    unicode_version: str | None = None
    """Version of Python's Unicode tables; ``fit`` fills it in."""

    def __post_init__(self) -> None:
        require_positive(self, max_characters=self.max_characters)
        if self.text_version != VERSION:
            raise UserError(
                f"feature {self.name!r}: its texts were encoded by version {self.text_version} of the algorithm, this "
                f"dssm_lightning has version {VERSION}; use the release that the feature was fitted with, or fit anew"
            )

    def fit(self: TextT, column: pl.Series) -> TextT:
        """A copy that knows its vocabulary, where it has one, and the Unicode tables it was learnt with."""
        texts = text_column(self, column, self.on_empty, self.max_characters)
        return replace(self, unicode_version=unicodedata.unidata_version, **self._learn(normalised(texts)))

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        """The fields that normalised texts teach."""
        return {}

    def encode(self, column: pl.Series) -> Ragged | torch.Tensor:
        """Texts (B,) as B rows of int32 ids, or vectors; the same text gets the same row, alone or in any column.

        Raises:
            ValueError: the feature is not fitted, the column holds no texts, or (unless allowed) an empty one.
        """
        if not self.is_fitted:
            raise UserError(f"feature {self.name!r}: its vocabulary is not known yet; fit it, or give `vocabulary`")
        texts = text_column(self, column, self.on_empty, self.max_characters)
        if self.unicode_version not in (None, unicodedata.unidata_version) and has_foreign(texts.fill_null("")).any():
            warnings.warn(
                f"feature {self.name!r} was fitted with the tables of Unicode {self.unicode_version}, this Python has "
                f"{unicodedata.unidata_version}: letters that only one of them knows may be encoded differently",
                stacklevel=2,
            )
        return self._encode_apart(texts.fill_null(""))

    def _encode_apart(self, texts: pl.Series) -> Ragged | torch.Tensor:
        """Encode texts, few of which are foreign among many in ASCII, in two columns: in one they slow all down."""
        foreign = has_foreign(texts)
        place = foreign.arg_true().to_numpy().astype(np.int64)
        if not 0 < len(place) <= len(texts) // MANY_PER_FOREIGN:
            return self._encode(normalised(texts))
        many = self._encode(texts.filter(~foreign).str.to_lowercase())  # of ASCII, all that `normalised` does
        few = self._encode(normalised(texts.filter(foreign)))
        if isinstance(many, Ragged) and isinstance(few, Ragged):
            return inserted(many, few, place)
        assert isinstance(many, torch.Tensor)
        assert isinstance(few, torch.Tensor)
        together = many.new_empty((len(texts), *many.shape[1:]))
        is_foreign = torch.from_numpy(foreign.to_numpy().copy())
        together[~is_foreign], together[is_foreign] = many, few
        return together

    def _encode(self, texts: pl.Series) -> Ragged | torch.Tensor:
        """The encoding of normalised texts (B,)."""
        raise NotImplementedError
