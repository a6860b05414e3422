"""The roles of columns in the interaction table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ColumnRoles:
    """Names of the columns of the interaction table that have a role: ids, label, weight, time and grade.

    Example:
        >>> roles = ColumnRoles("user_id", "movie_id", time="timestamp")
        >>> roles.candidate_id, roles.time, roles.label
        ('movie_id', 'timestamp', None)
    """

    query_id: str = "query_id"
    """Column of ``interactions`` and ``queries`` that identifies a query."""
    candidate_id: str = "candidate_id"
    """Column of ``interactions`` and ``candidates`` that identifies a candidate."""
    label: str | None = None
    """Column with 1 for liked and 0 for shown and not liked; None = every interaction is a positive."""
    weight: str | None = None
    """Column with a weight, 0 or more, for each interaction; None = all count the same."""
    time: str | None = None
    """Column that orders a query's interactions (a number or a datetime); None = no order is known."""
    grade: str | None = None
    """Column with the grade of a liked candidate, a whole number from 1 on: the gain of NDCG; None = 1."""
    objectives: tuple[str, ...] = field(default=(), repr=False)
    """Columns with 1 for the positives of an objective and 0 for other rows: a setting of the data, of no source."""
