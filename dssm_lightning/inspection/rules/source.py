"""Where the tables come from: the settings of `Files`, each with what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dssm_lightning.inspection.config_text import Because
from dssm_lightning.inspection.profile import DataProfile
from dssm_lightning.inspection.rules.decisions import Decision
from dssm_lightning.inspection.rules.situation import Situation

_SHOWN = 3
_WHY = {
    "separator": "found in the text of the files",
    "encoding": "the bytes are not UTF-8",
    "columns": "the first line has no names; these are ours, rename them as you like",
    "rename": "new names of columns, as {old: new}",
    "time_format": "how the times are written",
    "missing": "texts that stand for no value",
    "drop": "rows that are left out, see the table of `init`",
    "weight": "multiplies the loss of a row",
    "grade": "how good a liked candidate is: the gain of NDCG",
}


def source_of(situation: Situation, files: Mapping[str, Any]) -> tuple[dict[str, Any], list[Decision]]:
    """Return the source, and what it takes as liked.

    Args:
        situation: the data.
        files: the arguments of `Files`, as they were found.
    """
    profile = situation.profile
    why = {name: text for name, text in _WHY.items() if name in files} | _liked(profile)
    given = {name: Because(value, why[name]) if name in why else value for name, value in files.items()}
    display = _display(situation)
    if display:
        given["display"] = Because(display, "columns that `search` shows beside an id")
    return {"class_path": "Files", "init_args": given}, [_decision(profile)]


def _liked(profile: DataProfile) -> dict[str, str]:
    feedback = profile.feedback
    share = f"{feedback.share_liked:.0%} of the rows"
    return {
        "positive": f"what counts as liked, a proposal: {feedback.note or f'holds for {share}'}",
        "label": f"1 is liked, 0 is shown and not liked; {share} are liked",
    }


def _decision(profile: DataProfile) -> Decision:
    feedback = profile.feedback
    if feedback.positive is not None:
        chosen, why = feedback.positive, f"holds for {feedback.share_liked:.0%} of the rows"
    elif feedback.kind == "likes":
        chosen, why = "every row", "no column says what was liked"
    else:
        chosen, why = f"{feedback.column}", f"{feedback.kind}; {feedback.share_liked:.0%} of the rows are liked"
    return Decision("liked", chosen, feedback.note or why)


def _display(situation: Situation) -> list[str]:
    """Return the candidates' columns to show: short texts, then categories."""
    table = situation.profile.candidates
    if table is None:
        return []
    columns = [each for each in table.columns.values() if each.name != situation.profile.candidate_id]
    texts = [each.name for each in columns if each.kind == "text"]
    return (texts + [each.name for each in columns if each.kind == "category" and each.distinct < each.rows])[:_SHOWN]
