"""What a check finds, and the line of YAML that would change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""The worst first. error: `fit` fails, or its numbers are wrong. warning: the model is very likely worse than it could
be. note: what a person should know."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Example:
        >>> change = yaml_line("data.batch_size", 64)
        >>> Finding("warning", "batch-size", "data.batch_size", "1024 rows, but 300 to train on", change).change
        'data: {batch_size: 64}'
    """

    level: Level
    check: str
    """The name of the check."""
    where: str
    """The setting, the feature or the column."""
    found: str
    """What was found, with its numbers."""
    change: str | None = None
    """The YAML to write. Of a list only the entry that changes. None = nothing needs to change."""


def yaml_line(path: str, value: Any, comment: str = "") -> str:
    """Return a setting as one line of YAML, and a comment behind it.

    Args:
        path: the keys, joined by dots.
        value: what stands there.
        comment: text behind ``#``.

    Example:
        >>> yaml_line("checkpoint.patience", 3, "epochs")
        'checkpoint: {patience: 3}  # epochs'
    """
    for key in reversed(path.split(".")):
        value = {key: value}
    (first,) = value
    inner = yaml.safe_dump(value[first], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    line = f"{first}: {inner.removesuffix('...' + chr(10)).strip()}"
    return f"{line}  # {comment}" if comment else line


def percent(share: float) -> str:
    """Return a share as a text; a small one keeps a digit.

    Example:
        >>> percent(0.5), percent(0.004), percent(0.00001), percent(0)
        ('50 %', '0.4 %', '< 0.1 %', '0 %')
    """
    if share <= 0:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")
