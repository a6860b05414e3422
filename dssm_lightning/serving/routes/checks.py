"""What several routes check in a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dssm_lightning.features.raw_values import shown, text_of
from dssm_lightning.serving.decoding import RecordReader
from dssm_lightning.serving.errors import RequestError, refusing_values
from dssm_lightning.serving.requests import Id
from dssm_lightning.serving.settings import Limits


def as_list(value: Any, field: str, limits: Limits) -> list[Any]:
    """Return one or several queries, candidates or texts as a list.

    Raises:
        RequestError: 422 an empty list; 413 too many.
    """
    values = value if isinstance(value, list) else [value]
    if not values:
        raise RequestError(422, f"{field} is an empty list; give at least one")
    if len(values) > limits.max_batch:
        raise RequestError(413, f"{field} has {len(values):,} entries; at most {limits.max_batch:,} are accepted")
    return values


def read_small(reader: RecordReader, values: Sequence[Any]) -> list[Any] | None:
    """Return a single small query or candidate as a record; None for others, which are read in the thread.

    Raises:
        RequestError: 422 an unknown column, or a value above a limit.
    """
    if len(values) != 1 or not reader.is_small(values[0]):
        return None
    with refusing_values():
        return [reader.read(values[0])]


def default_k(k: int | None, candidates: int, limits: Limits, usual: int = 10) -> int:
    """Return the number of answers; if none was asked for, the usual one, or all candidates."""
    return max(1, min(usual, candidates, limits.max_k)) if k is None else k


def require_k(k: int, limits: Limits, queries: int = 1) -> None:
    """Refuse a number of answers that is too small or too large.

    Raises:
        RequestError: 422 for one query; 413 for all of them.
    """
    if not 1 <= k <= limits.max_k:
        raise RequestError(422, f"k is {shown(k)}; it must be from 1 to {limits.max_k:,} (--max_k)")
    if k * queries > limits.max_answers:
        most = f"at most {limits.max_answers:,} are accepted (--max_answers)"
        raise RequestError(413, f"{queries:,} queries with k = {k:,} have {k * queries:,} answers; {most}")


def require_text(text: str | None, field: str, limits: Limits) -> None:
    """Refuse a text that is too long.

    Raises:
        RequestError: 422.
    """
    if text is not None and len(text) > limits.max_text:
        raise RequestError(422, f"{field} has {len(text):,} characters; at most {limits.max_text:,} are accepted")


def id_text(value: Id, field: str, limits: Limits) -> str:
    """Return an id as the text by which a candidate is found: 7 and "7" are the same.

    Raises:
        RequestError: 422 a value that is no id.
    """
    with refusing_values():
        text = text_of(value)
    if text is None:  # not a number: JSON has none
        raise RequestError(422, f"{field} is no id")
    require_text(text, field, limits)
    return text


def id_texts(values: Sequence[Id], field: str, limits: Limits) -> tuple[str, ...]:
    """Return several ids as texts, sorted, so that equal sets of ids are equal.

    Raises:
        RequestError: 422 too many, or one that is no id.
    """
    if len(values) > limits.max_history:
        raise RequestError(422, f"{field} has {len(values):,} ids; at most {limits.max_history:,} are accepted")
    return tuple(sorted({id_text(value, field, limits) for value in values}))
