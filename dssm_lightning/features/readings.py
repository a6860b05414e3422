"""What a raw value becomes before a tower sees it: what is known, what is not, and what is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dssm_lightning.features.raw_values import plain, shown, text_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray


class Truncation(NamedTuple):
    """How much of a value a feature reads, where it does not read all of it.

    Example:
        >>> str(Truncation("title", "title", 2, 9, "words"))
        "feature 'title' reads 2 of 9 words of column 'title'"
    """

    feature: str
    column: str
    kept: int
    total: int
    unit: str
    """What is counted: "characters", "words", "tokens" or "entries"."""

    def __str__(self) -> str:
        counts = f"{self.kept:,} of {self.total:,} {self.unit}"
        return f"feature {self.feature!r} reads {counts} of column {self.column!r}"


class ReadValue(NamedTuple):
    """A part of a value as text, and whether the feature knows it.

    Example:
        >>> ReadValue("shoes", known=True).text
        'shoes'
    """

    text: str
    known: bool | None
    """True: it has a row or a number of its own. False: it is treated as unknown, or as no value. None: the feature
    cannot tell, as with hashed words."""


class Reading(NamedTuple):
    """What a raw value becomes in a feature, which encodes just these values.

    Example:
        >>> from dssm_lightning.features import Words
        >>> reading = Words(name="title", vocabulary=("red", "shoes"), max_length=2).read("red boots, red shoes")
        >>> [tuple(value) for value in reading.values], reading.kept, reading.total, reading.unit
        ([('red', True), ('boots', False)], 2, 4, 'words')
        >>> str(reading.truncations[0])
        "feature 'title' reads 2 of 4 words of column 'title'"
    """

    feature: str
    column: str
    kind: str
    """Name of the feature's class."""
    unit: str
    """What ``kept`` and ``total`` count: "words", "trigrams", "n-grams", "tokens", "values", "entries", "numbers" or
    "pixels"."""
    values: list[ReadValue]
    """In their order, without what is cut off. The entries of a history may have several each."""
    kept: int
    total: int
    """Before ``max_length``, but after ``max_characters``."""
    missing: bool = False
    """Whether the value is null or empty, and encoded as such."""
    truncations: tuple[Truncation, ...] = ()
    """What is cut off: by characters, by ``unit``, or by both."""

    @property
    def unknown(self) -> list[str]:
        """The texts of the values that the feature does not know."""
        return [value.text for value in self.values if value.known is False]


def reading_of(
    feature: Any,
    unit: str,
    values: Sequence[ReadValue],
    total: int | None = None,
    kept: int | None = None,
    truncations: Sequence[Truncation] = (),
) -> Reading:
    """Return the reading of a feature; a value without values is missing.

    Args:
        feature: the feature.
        unit: what is counted.
        values: what it encodes.
        total: the number before something is cut off; None = ``kept``.
        kept: the number that is encoded; None = that of the values.
        truncations: what is cut off.
    """
    kept = len(values) if kept is None else kept
    names = feature.name, feature.source_column, type(feature).__name__
    return Reading(*names, unit, list(values), kept, kept if total is None else total, not values, tuple(truncations))


def truncated(feature: Any, kept: int | None, total: int, unit: str) -> list[Truncation]:
    """Return the truncation of a feature that keeps ``kept`` of ``total``; none if it keeps all of it."""
    if kept is None or total <= kept:
        return []
    return [Truncation(feature.name, feature.source_column, kept, total, unit)]


def ids_of(encoded: ArrayColumn) -> list[int]:
    """Return the ids of the only row of an encoded column."""
    ids: list[int] = (encoded.values if isinstance(encoded, RaggedArray) else encoded).tolist()
    return ids


def plain_values(value: Any) -> list[ReadValue]:
    """Return a value, or the entries of a list, as text, of which nothing is known.

    Example:
        >>> plain_values([7, None, "red"])
        [ReadValue(text='7', known=None), ReadValue(text='red', known=None)]
    """
    value = plain(value)
    entries = [plain(entry) for entry in value] if isinstance(value, list) else [value]
    return [ReadValue(value_text(entry), None) for entry in entries if entry is not None]


def value_text(value: Any) -> str:
    """Return a raw value as a person reads it, in one line."""
    try:
        text = text_of(value)
    except UserError:
        text = None
    return shown(value) if text is None else text
