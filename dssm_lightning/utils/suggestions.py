"""The known names that are most like an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """At most ``most`` known names, the most similar one first, whatever their case.

    Example:
        >>> nearest_names("relu", ["ReLU", "Tanh"], 1)
        ['ReLU']
    """
    lowered = {key.lower(): key for key in sorted(known)}
    return [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=most, cutoff=0.0)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, or nothing where no known name is similar.

    Example:
        >>> did_you_mean("titel", ["title", "genre"])
        "; did you mean 'title'?"
    """
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
