"""Names of the cases of a test."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """Return ``repr(value)`` without addresses: processes that share the tests out compare the names of all cases.

    Example:
        >>> named([object()])
        '[<object object>]'
    """
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
