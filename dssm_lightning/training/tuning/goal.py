"""What a study makes as good as possible, for which config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Goal(NamedTuple):
    """What a study makes as good as possible, for which config.

    Example:
        >>> Goal("shop.yaml", "val/mrr", "max", {"data.batch_size": 64}, ["lr 0.01: 0.001 to 0.1"]).digest[:6]
        'f3ae88'
    """

    config: str
    """The names of its files."""
    metric: str
    mode: Literal["min", "max"]
    fixed: Mapping[str, Any]
    """The settings that no trial changes, by their dotted names."""
    space: Sequence[str]
    """A line for each setting that is searched."""

    @property
    def digest(self) -> str:
        """A hash of all but the name of the config."""
        return hashlib.sha256(json.dumps(self[1:], sort_keys=True).encode()).hexdigest()[:12]

    def other(self, path: Path, found: Mapping[str, Any]) -> str:
        """Return what differs between this goal and that of the study of a file, for an error message."""
        before, now = found["fixed"], self.fixed
        changed = [
            f"{name} {before.get(name)!r} → {now.get(name)!r}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        changed += [
            f"{name} {found[name]} → {getattr(self, name)}"
            for name in ("metric", "mode")
            if found[name] != getattr(self, name)
        ]
        space = set(found["space"]) ^ set(self.space)
        changed += [f"searched {line}" for line in sorted(space)]
        shown = "; ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        return (
            f"--study {path} is the study of {found['config']} ({found['digest']}), not of {self.config} "
            f"({self.digest}): {shown}; name another file with --study"
        )
