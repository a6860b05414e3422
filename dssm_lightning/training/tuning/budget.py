"""Durations as people write them."""

from __future__ import annotations

import re

from dssm_lightning.utils.errors import UserError

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?")


def seconds_of(text: str, option: str) -> int:
    """Return the seconds of a duration such as ``1h``, ``90m``, ``1h30m`` or ``45s``.

    Raises:
        UserError: no duration, or one of no time.

    Example:
        >>> seconds_of("1h30m", "--time"), seconds_of("45s", "--time")
        (5400, 45)
    """
    found = _DURATION.fullmatch(text.replace(" ", "").lower())
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise UserError(f"{option} is {text!r}; it must be a duration such as 1h, 90m, 1h30m or 45s")
    return total
