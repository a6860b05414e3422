"""The columns of the interaction table that have a meaning of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnRoles:
    """Names of the columns that have a meaning of their own in the interaction table."""

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
    """Column that says how relevant what is liked is, a whole number from 1 on: the gain of NDCG; None = 1."""
