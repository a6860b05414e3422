"""Raw values of a query or a candidate, as a caller gives them, as records by column name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.schema import Schema
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

RawValues = Mapping[str, Any] | str
"""Values by column name, or a bare text, which is the value of the only column that a side reads."""
Several = list[str] | list[dict[str, Any]] | list[RawValues]
"""The raw values of several queries or candidates."""


def columns_of(schema: Schema) -> list[str]:
    """Return the names of the columns that a side reads, without duplicates."""
    return list(dict.fromkeys(feature.source_column for feature in schema))


def record_of(side: str, value: RawValues, columns: Sequence[str], others: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return the values by column name of one query or candidate.

    Args:
        side: "query" or "candidate", for messages.
        value: as the caller gives it.
        columns: the columns that the model reads.
        others: further columns that are possible.

    Raises:
        UserError: a bare text where the model reads several columns; an unknown column; neither a text nor a mapping,
            or an empty one.

    Example:
        >>> record_of("query", "red shoes", ["text"])
        {'text': 'red shoes'}
        >>> record_of("query", {"txt": "red shoes"}, ["text"])
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: query column 'txt' is unknown; the model reads ['text']; did you mean \
'text'?
    """
    if isinstance(value, str):
        if len(columns) > 1:
            raise UserError(
                f"{side} {shown(value)} is a bare text, but the model reads the columns {list(columns)}: give an "
                "object of columns"
            )
        return {columns[0]: value}
    if not isinstance(value, Mapping):
        raise UserError(f"{side} {shown(value)} is neither a text nor an object of the columns {list(columns)}")
    for name in value:
        if name not in columns and name not in others:
            hint = did_you_mean(str(name), [*columns, *others])
            raise UserError(f"{side} column {shown(name)} is unknown; the model reads {list(columns)}{hint}")
    if not value:
        raise UserError(f"the {side} {dict(value)} is empty; give at least one of the columns {list(columns)}")
    return value


def needed_columns(schema: Schema) -> list[str]:
    """Return the columns that every row must have, since a feature refuses a missing value."""
    return list(dict.fromkeys(feature.source_column for feature in schema if feature.needs_value))


def are_several(values: Any) -> bool:
    """Return whether raw values are a list or tuple of queries or candidates, and not a single one."""
    return isinstance(values, list | tuple)


def as_list(values: Any) -> list[RawValues]:
    """Return several raw values as a list, also if only one is given; what it is, :func:`record_of` checks."""
    return list(values) if are_several(values) else [values]


def require_ids(ids: Any, argument: str) -> list[Any]:
    """Return the ids of candidates as a list.

    Raises:
        UserError: a single text, whose letters would be taken for ids, or something else that is no collection.

    Example:
        >>> require_ids("c7", "exclude")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: exclude is 'c7'; give a list of ids, such as ['c7']
    """
    if isinstance(ids, str | bytes):
        raise UserError(f"{argument} is {shown(ids)}; give a list of ids, such as [{shown(ids)}]")
    if isinstance(ids, Mapping) or not isinstance(ids, Iterable):
        raise UserError(f"{argument} is {shown(ids)}; give a list of ids")
    return list(ids)
