"""The base class of text features, and rows of ids of different lengths."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.readings import Reading, ReadValue, Truncation, ids_of, reading_of, truncated
from dssm_lightning.features.text.raw_texts import MAX_CHARACTERS, few_texts, text_column, text_value
from dssm_lightning.features.text.text_counts import TextCounts, counts_of
from dssm_lightning.features.text.words_and_letters import (
    VERSION,
    Counts,
    Letters,
    most_words,
    pieces,
    pieces_of,
    words_of,
)
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import require_buckets
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray

if TYPE_CHECKING:
    import polars as pl

TextT = TypeVar("TextT", bound="TextFeature")


def ragged(ids: NDArray[np.int32], lengths: Counts, max_length: int | None = None) -> RaggedArray:
    """Make rows of the given lengths (B,), each truncated to its first ``max_length`` ids."""
    if max_length is not None:
        place = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # of each id in its row
        ids, lengths = ids[place < max_length], np.minimum(lengths, max_length)
    return RaggedArray.from_lengths(ids, lengths)


def _has_foreign(texts: pl.Series) -> bool:
    """Return whether any text has a character that is not ASCII."""
    return bool((texts.str.len_bytes() != texts.str.len_chars()).any())


def require_sizes(feature: Feature, **sizes: int | None) -> None:
    """Refuse a size below 1 or above the largest int32 id; None passes."""
    for name, size in sizes.items():
        require_buckets(feature._label, name, size)


@dataclass(frozen=True, kw_only=True)
class TextFeature(TextCounts, Feature):
    """A column of texts, split into words as ``words_and_letters.py`` describes; the base class of text features.

    A saved feature records two versions that determine the words and ids of a text. With another ``text_version``, the
    feature is refused. With another ``unicode_version``, a column that is not ASCII is encoded with a warning: Unicode
    never changes the properties of a known character, so only characters that one of the versions does not know can
    differ.

    Subclasses implement ``_encode_pieces`` for the letters of texts, and ``_learn`` if they have a vocabulary.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import HashedWords
        >>> words = HashedWords(name="title", on_empty="allow").encode(pl.Series(["Toy Story", "TOY, story!", None]))
        >>> words.values.tolist(), words.lengths.tolist()
        ([39540, 56852, 39540, 56852], [2, 2, 0])
    """

    reads_text = True
    knows_values: ClassVar[bool] = False
    """Whether row 0 is for the values that the vocabulary does not have."""

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
        super().__post_init__()
        require_sizes(self, max_characters=self.max_characters)
        if self.text_version != VERSION:
            raise UserError(
                f"{self._label}: text_version is {self.text_version}, but this release of dssm_lightning has version "
                f"{VERSION}; use the release that fitted the feature, or fit the feature again"
            )

    def fit(self: TextT, column: pl.Series) -> TextT:
        """Return a copy with the version of the Unicode tables, and what the class learns: a vocabulary, counts."""
        texts = text_column(self, column, self.on_empty, self.max_characters)
        learnt = self._learn(texts)
        fitted = replace(self, unicode_version=unicodedata.unidata_version, **learnt)
        return replace(fitted, **counts_of(fitted, texts)) if fitted.wants_counts else fitted

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        """Return the fields that are learnt from texts."""
        return {}

    def encode_array(self, column: pl.Series) -> ArrayColumn:
        """Encode texts (B,) as B rows of int32 ids, or as vectors. A text's row does not depend on the other texts.

        Raises:
            UserError: the feature is not fitted, the column does not hold texts, or, with ``on_empty="error"``, a text
                is empty.
        """
        if not self.is_fitted:
            raise UserError(f"{self._label}: vocabulary is not known yet; call `fit`, or give `vocabulary`")
        texts = text_column(self, column, self.on_empty, self.max_characters).fill_null("")
        if self._of_other_unicode and _has_foreign(texts):
            self._warn_of_unicode()
        return self._encode_pieces(pieces(texts))

    def _encode_few(self, values: Sequence[Any]) -> ArrayColumn | None:
        texts = few_texts(self, values, self.on_empty, self.max_characters) if self.is_fitted else None
        if texts is None:
            return None
        if self._of_other_unicode and not all(map(str.isascii, texts)):
            self._warn_of_unicode()
        return self._encode_pieces(pieces_of(texts))

    # -- what a text becomes -------------------------------------------------------------------------------------------

    @property
    def longest(self) -> int | None:
        """The most words that are kept of a text; None keeps all."""
        return None

    def read(self, value: Any) -> Reading:
        """Return the values that a text becomes, in the order in which it is encoded. Errors as for the base class."""
        text = text_value(value)
        kept = text if text is None else text[: self.max_characters]  # without the warning of a truncated text
        encoded = self.encode_values([value if kept is None else kept])
        texts, unit = self._read_letters(next(iter(pieces_of([kept or ""]))))
        values = [ReadValue(each, None) for each in texts[: self.longest]]
        if self.knows_values and isinstance(encoded, RaggedArray):
            pairs = zip(values, ids_of(encoded), strict=True)
            values = [ReadValue(each.text, number != 0) for each, number in pairs]
        return reading_of(self, unit, values, len(texts), truncations=self.truncations(value))

    def _read_letters(self, letters: Letters) -> tuple[list[str], str]:
        """Return the values of one text before ``longest`` cuts them, and their unit."""
        return words_of(letters), "words"

    def truncations(self, value: Any) -> list[Truncation]:
        """Return whether the text has more than ``max_characters``, and more than ``longest`` words after that."""
        text = text_value(value)
        if text is None:
            return []
        cut = truncated(self, self.max_characters, len(text), "characters")
        if self.longest is None or most_words(text[: self.max_characters]) <= self.longest:
            return cut
        words = words_of(next(iter(pieces_of([text[: self.max_characters]]))))
        return cut + truncated(self, self.longest, len(words), "words")

    @property
    def _of_other_unicode(self) -> bool:
        return self.unicode_version not in (None, unicodedata.unidata_version)

    def _warn_of_unicode(self) -> None:
        warnings.warn(
            f"{self._label} was fitted with Unicode {self.unicode_version}, and this Python has Unicode "
            f"{unicodedata.unidata_version}: characters that only one of them knows may be encoded differently",
            stacklevel=3,
        )

    def _encode_pieces(self, pieces: Iterable[Letters]) -> ArrayColumn:
        """Encode texts (B,), whose letters come in at least one piece."""
        raise NotImplementedError
