"""The settings with which `Files` reads what was found."""

from __future__ import annotations

from typing import Any

from dssm_lightning.inspection.profile import DataProfile


def files_settings(found: DataProfile) -> dict[str, Any]:
    """Return the arguments of `Files`, without those that are None or empty.

    Separator, encoding and quote are one value where all text files agree, else a mapping from the table to its value.

    Args:
        found: what :func:`profile_files` returned.

    Example:
        >>> from dssm_lightning.inspection.profile import Feedback, TableProfile
        >>> from dssm_lightning.data.sources.text_layout import TextLayout
        >>> table = TableProfile(role="interactions", path="u.data", rows=9, columns={}, layout=TextLayout("|"))
        >>> liked = Feedback(kind="ratings", column="stars", positive="stars >= 4")
        >>> files_settings(DataProfile(interactions=table, query_id="user", candidate_id="film", feedback=liked))
        {'interactions': 'u.data', 'query_id': 'user', 'candidate_id': 'film', 'positive': 'stars >= 4', \
'separator': '|'}
    """
    feedback = found.feedback
    is_label = feedback.kind == "labels" and feedback.positive is None
    settings: dict[str, Any] = {
        **{table.role: table.path for table in found.tables},
        "query_id": found.query_id,
        "candidate_id": found.candidate_id,
        "label": feedback.column if is_label else None,
        "positive": feedback.positive,
        "grade": feedback.column if feedback.kind == "grades" else None,
        "weight": found.weight,
        "time": found.time,
        "time_format": _time_format(found),
        **{name: _layout(found, name) for name in ("separator", "encoding", "quote", "columns")},
        "rename": dict(found.rename),
        "dtypes": dict(found.dtypes),
        "missing": list(found.missing),
        "drop": list(found.drop),
    }
    return {name: value for name, value in settings.items() if value is not None and value not in ({}, [])}


def _time_format(found: DataProfile) -> str | None:
    column = found.interactions.columns.get(found.time or "")
    return None if column is None else column.time_format


def _layout(found: DataProfile, name: str) -> Any:
    values = {table.role: getattr(table.layout, name) for table in found.tables if table.path is not None}
    known = {role: value for role, value in values.items() if value is not None}
    if name == "columns":
        return {role: list(value) for role, value in known.items()}
    agreed = set(known.values())
    return agreed.pop() if len(agreed) == 1 and len(known) == len(values) else known
