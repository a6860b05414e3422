"""Answers, written as JSON, whatever the values of a corpus are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from starlette.responses import Response

from dssm_lightning.features.raw_values import plain

DEEPEST = 100
"""Values that are nested deeper are cut off."""
LARGE = 4_096
"""Numbers or texts from which an answer takes about a millisecond to write."""
_ENCODER = msgspec.json.Encoder()


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON in UTF-8: NaN and infinity are null, and what JSON does not know is a text.

    Example:
        >>> import datetime
        >>> json_bytes({"seen": datetime.date(2024, 1, 31), "rate": float("nan"), None: {1, 2}, "half": "\\ud800"})
        b'{"seen":"2024-01-31","rate":null,"null":[1,2],"half":"\\\\\\\\ud800"}'
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):  # also UnicodeEncodeError
        return _ENCODER.encode(_plain(value))


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as an answer."""
    return Response(json_bytes(value), status, media_type="application/json")


def json_content(content: bytes) -> Response:
    """Return JSON as an answer."""
    return Response(content, media_type="application/json")


async def json_later(answer: Callable[[], Any], size: int) -> Response:
    """Return an answer that is made and written in a thread if it is large.

    Args:
        answer: returns the value.
        size: about how many numbers and texts it has.
    """
    if size < LARGE:
        return json_response(answer())
    return json_content(await asyncio.to_thread(lambda: json_bytes(answer())))


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value that JSON can hold."""
    if depth > DEEPEST:
        return "…"
    value = plain(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_name(key): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in value]
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _plain(str(value))


def _name(key: Any) -> str:
    if key is None or isinstance(key, bool):
        return json_bytes(key).decode()
    return str(_plain(str(key)))


def joined(parts: Sequence[bytes]) -> bytes:
    """Return a JSON list of values that are JSON already."""
    return b"[" + b",".join(parts) + b"]"
