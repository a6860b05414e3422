"""The entries of histories and of lists of queries: their ids, their ages, and what they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import ENTRY, by_value
from dssm_lightning.features.raw_numbers import read_numbers
from dssm_lightning.features.raw_values import NUMBERS, plain, shown, text_of
from dssm_lightning.features.readings import Reading, ReadValue, Truncation, reading_of, truncated, value_text
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray

if TYPE_CHECKING:
    import polars as pl

DATED_ENTRY = 'an object {"id": …, "seconds": seconds ago}'


def id_and_seconds(value: Any) -> tuple[Any, Any]:
    """Return the id and the seconds of an entry with an age in seconds.

    Raises:
        UserError: another value. The message has only the reason.
    """
    if not isinstance(value, dict) or value.keys() != {"id", "seconds"}:
        raise UserError(f"with `age: seconds`, an entry must be {DATED_ENTRY}")
    return value["id"], value["seconds"]


def ages_of(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return ages in seconds (T,), and the places of those that are none."""
    with np.errstate(over="ignore"):
        seconds = numbers.astype(np.float32)
    return seconds, np.flatnonzero(~(np.isfinite(seconds) & (seconds >= 0)))


def events_ago(offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return ages (T,) in events: the newest entry of a row, its last one, has age 1."""
    ends = np.repeat(offsets[1:], offsets[1:] - offsets[:-1])
    return (ends - np.arange(len(ends))).astype(np.float32)


def grouped(ids: ArrayColumn, offsets: NDArray[np.int64], age: NDArray[np.float32] | None = None) -> RaggedArray:
    """Group the ids of T entries into B rows that begin at ``offsets`` (B + 1,), with the age (T,) of each entry."""
    if isinstance(ids, RaggedArray):
        ages = None if age is None else np.repeat(age, ids.lengths)
        return RaggedArray(ids.values, ids.offsets[offsets], ages)
    return RaggedArray(ids, offsets, age)


def dated_entries(feature: Feature, values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the ids (T,) and the seconds (T,) of entries ``{"id": …, "seconds": …}``.

    Raises:
        UserError: another entry.
    """
    import polars as pl

    if isinstance(values.dtype, pl.Struct) and {f.name for f in values.dtype.fields} == {"id", "seconds"}:
        return values.struct.field("id"), values.struct.field("seconds")
    if values.dtype not in (pl.Object, pl.Null) and len(values):
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} holds lists of {values.dtype}; with `age: seconds`, "
            f"an entry must be {DATED_ENTRY}"
        )
    pairs = by_value(feature, values, id_and_seconds)
    ids, seconds = ([pair[place] for pair in pairs] for place in (0, 1))
    return raw_column(ids, ENTRY), raw_column(seconds, ENTRY)


def read_seconds(feature: Feature, column: pl.Series) -> NDArray[np.float32]:
    """Return the ages (T,) in seconds of the entries.

    Raises:
        UserError: a value that is no age.
    """
    seconds, wrong = ages_of(read_numbers(feature, column, NUMBERS).values)
    if len(wrong):
        raise UserError(
            f"{feature._label}: `seconds` is {shown(column[int(wrong[0])])} in {len(wrong):,} of {len(seconds):,} "
            "entries; it must be the time since the entry: at least 0 and finite in float32"
        )
    return seconds


# -- what entries become -----------------------------------------------------------------------------------------------


def last_entries(entries: Sequence[Any], most: int | None) -> list[Any]:
    """Return the last entries, at most ``most``; None = all."""
    return list(entries if most is None else entries[-most:])


def read_entries(
    feature: Feature, item: Feature, entries: Sequence[Any], most: int | None, cuts: Sequence[Truncation]
) -> Reading:
    """Return the reading of a feature of lists: the values of its last entries, one entry after the other.

    Args:
        feature: the feature of lists.
        item: the feature that encodes each entry.
        entries: (T,) raw values, all of which ``item`` accepts.
        most: the number of last entries that are kept; None = all.
        cuts: what is cut off.
    """
    kept = last_entries(entries, most)
    values = [value for entry in kept for value in _values_of(item, entry)]
    return reading_of(feature, "entries", values, len(entries), len(kept), cuts)


def _values_of(item: Feature, entry: Any) -> list[ReadValue]:
    """Return the values of an entry; one that is missing is unknown if it has an id nevertheless."""
    values = item.read(entry).values
    if not values and not isinstance(item.encode_values([entry]), RaggedArray):
        return [ReadValue(value_text(entry), False)]
    return values


def read_candidates(
    feature: Feature,
    entries: Sequence[Any],
    most: int | None,
    row_of: Callable[[str], int | None] | None,
    cuts: Sequence[Truncation],
) -> Reading:
    """Return the reading of a history of whole candidates; arguments as for :func:`read_entries`.

    Args:
        feature: the history.
        entries: (T,) raw ids.
        most: the number of last entries that are kept; None = all.
        row_of: returns the row of a candidate's id as text, None for an unknown id; None = nobody knows.
        cuts: what is cut off.
    """
    kept = [text_of(entry) or "" for entry in last_entries(entries, most)]
    values = [ReadValue(text, None if row_of is None else row_of(text) is not None) for text in kept]
    return reading_of(feature, "entries", values, len(entries), truncations=cuts)


def cut_entries(
    feature: Feature, item: Feature | None, value: Any, most: int | None, entries_of: Callable[[Any], list[Any]]
) -> list[Truncation]:
    """Return what a feature of lists cuts off: entries, and parts of the entries that it keeps, added up by unit.

    Args:
        feature: the feature of lists.
        item: the feature that encodes each entry; None = each is a whole candidate.
        value: a raw list.
        most: the number of last entries that are kept; None = all.
        entries_of: returns the raw values of all entries of a list; refuses a value with a UserError.
    """
    cutting = None if item is None or type(item).truncations is Feature.truncations else item
    given = plain(value)
    if cutting is None and (most is None or not isinstance(given, list) or len(given) <= most):
        return []
    try:
        entries = entries_of(value)
    except UserError:  # the feature refuses the value, too
        return []
    found = truncated(feature, most, len(entries), "entries")
    if cutting is None:
        return found
    totals: dict[str, tuple[int, int]] = {}
    for cut in (cut for entry in last_entries(entries, most) for cut in cutting.truncations(entry)):
        kept, total = totals.get(cut.unit, (0, 0))
        totals[cut.unit] = kept + cut.kept, total + cut.total
    return found + [each for unit, (kept, total) in totals.items() for each in truncated(feature, kept, total, unit)]
