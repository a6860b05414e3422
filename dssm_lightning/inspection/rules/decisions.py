"""What a rule decides: a choice, the reason, and the settings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Side = Literal["query", "candidate"]


@dataclass(frozen=True)
class Decision:
    """One choice, as the table of `init` shows it.

    Example:
        >>> Decision("split", "LeaveLastN", "queries come back, and times are known").topic
        'split'
    """

    topic: str
    choice: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A feature of one side with its encoder, as the config declares it.

    Example:
        >>> Declared(side="query", name="age", feature={"class_path": "Bucketized"}, why="a number").encoder is None
        True
    """

    side: Side
    name: str
    feature: dict[str, Any]
    """``class_path`` and ``init_args``, without the name."""
    encoder: dict[str, Any] | None = None
    """None = the default encoder of its kind."""
    why: str = ""
    tied: str | None = None
    """The candidate feature whose table it shares."""
    bypass: bool = False
    """Whether it skips the tower's layers."""
    gives_way: bool = False
    """Whether it gets another name if its own is taken, because no other feature refers to it."""

    @property
    def reads_candidates(self) -> bool:
        """Whether it is a history of whole candidates, as their tower embeds them."""
        return bool(self.feature.get("init_args", {}).get("of") == "candidate")


@dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """What becomes of a column.

    Example:
        >>> ColumnUse(table="candidates", column="sku", kind="category", use="left out: constant").use
        'left out: constant'
    """

    table: str
    column: str
    kind: str
    use: str
    features: list[Declared] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features that were chosen.

    Example:
        >>> Features(declared=[], uses=[]).varies_by_event
        False
    """

    declared: Sequence[Declared]
    uses: Sequence[ColumnUse]
    decisions: Sequence[Decision] = field(default_factory=list)
    varies_by_event: bool = False
    """Whether a feature of the query reads a column that varies by event."""
