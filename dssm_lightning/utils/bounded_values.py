"""A bound on the values of a file: references in it can make few bytes endless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dssm_lightning.utils.errors import UserError

DEEPEST, MOST = 50, 1_000_000
"""Levels of nesting, and values."""


def require_bounded(values: Any, source: str, most: int = MOST) -> list[Any]:
    """Refuse values that are nested too deeply, contain themselves, or are too many when written out.

    Args:
        values: mappings, lists and single values.
        source: the file, for the message.
        most: the values that there may be.

    Returns:
        all values that are neither mappings nor lists.

    Raises:
        UserError: more than :data:`DEEPEST` levels, or more values than ``most``.
    Example:
        >>> require_bounded({"a": [1, 2], "b": {"c": 3}}, "x.ckpt")
        [3, 2, 1]
    """
    waiting, count, single = [(values, 0)], 0, []
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise UserError(f"{source}: values are nested deeper than {DEEPEST} levels")
        if not isinstance(value, Mapping | list | tuple):
            single.append(value)
            continue
        count += len(value)
        if count > most:
            raise UserError(f"{source}: there are more than {most:,} values, written out")
        waiting += [(item, depth + 1) for item in (value.values() if isinstance(value, Mapping) else value)]
    return single
