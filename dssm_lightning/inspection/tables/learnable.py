"""Refuse tables in which nothing can be learnt."""

from __future__ import annotations

from dssm_lightning.inspection.profile import DataProfile
from dssm_lightning.utils.errors import UserError

_NOTHING = ("empty", "constant")


def require_learnable(found: DataProfile) -> None:
    """Refuse pairs of ids that occur once and have no features: no pair says anything about another.

    Raises:
        UserError: such pairs.

    Example:
        >>> from dssm_lightning.inspection.profile import TableProfile
        >>> table = TableProfile(role="interactions", path="pairs.csv", rows=9, columns={})
        >>> numbers = {"num_queries": 9, "num_liked_candidates": 9, "num_pairs": 9}
        >>> require_learnable(DataProfile(interactions=table, query_id="a", candidate_id="b", **numbers))
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: pairs.csv: each of 9 values of 'a' and of 'b' occurs once, and no other \
column describes them, so that there is nothing to learn; give tables of queries or candidates with texts, categories \
or pictures
    """
    once = found.num_pairs == found.num_queries == found.num_liked_candidates
    keys = {found.query_id, found.candidate_id}
    parts = keys | {found.time, found.weight, found.feedback.column, found.published_fold}
    features = [
        column
        for table in found.tables
        for column in table.columns.values()
        if column.kind not in _NOTHING
        and (column.name not in parts or (column.name in keys and column.kind in ("text", "picture")))
        and (table.role != "interactions" or column.of != "event" or column.kind in ("text", "picture"))
    ]
    if once and not features:
        raise UserError(
            f"{found.interactions.path or 'interactions'}: each of {found.num_pairs:,} values of {found.query_id!r} "
            f"and of {found.candidate_id!r} occurs once, and no other column describes them, so that there is nothing "
            "to learn; give tables of queries or candidates with texts, categories or pictures"
        )
