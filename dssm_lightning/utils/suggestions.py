"""Find the known names that are most similar to an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return at most ``most`` known names, the most similar first; upper and lower case are equal.

    Example:
        >>> nearest_names("relu", ["ReLU", "Tanh"], 1)
        ['ReLU']
    """
    lowered = {key.lower(): key for key in sorted(known)}
    return [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=most, cutoff=0.0)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?`` with the most similar known name, or an empty text if no known name is similar.

    Example:
        >>> did_you_mean("titel", ["title", "genre"])
        "; did you mean 'title'?"
    """
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
