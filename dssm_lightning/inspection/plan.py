"""From what was found to what is chosen: all decisions with their reasons, and the config that follows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dssm_lightning.inspection.config_text import Because, config_text
from dssm_lightning.inspection.profile import ColumnProfile, DataProfile
from dssm_lightning.inspection.rules.decisions import ColumnUse, Decision, Declared
from dssm_lightning.inspection.rules.features import features_of
from dssm_lightning.inspection.rules.negatives import negatives_of
from dssm_lightning.inspection.rules.shown_candidates import shown_decision
from dssm_lightning.inspection.rules.situation import Situation, Task
from dssm_lightning.inspection.rules.source import source_of
from dssm_lightning.inspection.rules.split import evaluation_of, split_of
from dssm_lightning.inspection.rules.task import task_decision
from dssm_lightning.inspection.rules.towers import towers_of
from dssm_lightning.inspection.rules.training import batch_size_of, optimizer_of, schedule_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A config that is good for the data, and why.

    Example:
        >>> from dssm_lightning.inspection.profile import TableProfile
        >>> table = TableProfile(role="interactions", path="likes.csv", rows=90, columns={})
        >>> found = DataProfile(
        ...     interactions=table, query_id="user", candidate_id="film", num_candidates=30, num_liked_candidates=30,
        ...     num_queries=9, num_pairs=90, pairs_per_query=10, share_repeated_queries=1.0,
        ... )
        >>> plan = make_plan(found, {"interactions": "likes.csv", "query_id": "user", "candidate_id": "film"})
        >>> plan.decisions[0].choice
        'recommendation'
    """

    profile: DataProfile
    uses: Sequence[ColumnUse]
    decisions: Sequence[Decision]
    settings: Mapping[str, Any]
    """The sections of the config; values with a reason are :class:`~dssm_lightning.inspection.config_text.Because`."""

    def text(self, head: Sequence[str] = ()) -> str:
        """Return the config as commented YAML.

        Args:
            head: lines at the top.
        """
        return config_text(self.settings, head)

    def head(self, config: str) -> list[str]:
        """Return the lines at the top of the config: what it is for, and how it is used.

        Args:
            config: the file.
        """
        task, where = self.decisions[0], shlex.quote(config)
        return [
            f"{task.choice[0].upper()}{task.choice[1:]}: {task.why}. Written by `init`, which says why for each value.",
            "",
            *(f"  python -m dssm_lightning {verb} --config {where}" for verb in ("fit", "test", "baseline")),
            "",
        ]

    def part_of(self, role: str, column: ColumnProfile) -> str:
        """Return the part that a column plays which is no feature.

        Args:
            role: its table.
            column: the column.
        """
        profile = self.profile
        named = {
            profile.query_id: "id of the query",
            profile.candidate_id: "id of the candidate",
            profile.time: "time of the event",
            profile.weight: "weight of the row",
            profile.feedback.column: "says what is liked",
            profile.published_fold: "fold of the row",
        }
        for name in (column.name, profile.rename.get(f"{role}.{column.name}")):
            if name is not None and name in named:
                return named[name]
        return "left out: varies by event, and may tell the answer" if role == "interactions" else "left out"


def make_plan(profile: DataProfile, files: Mapping[str, Any], task: Task | None = None) -> Plan:
    """Return the config that the rules choose for what was found.

    Args:
        profile: what was found.
        files: the arguments of `Files`.
        task: what the model is for; None = it follows from the data.

    Raises:
        UserError: nothing is known of a query; the data cannot be used for the task.
    """
    situation = Situation(profile, task)
    features = features_of(situation)
    source, liked = source_of(situation, files)
    split, split_why = split_of(situation)
    evaluate, evaluate_why = evaluation_of(situation, features.varies_by_event)
    batch, batch_why = batch_size_of(situation)
    drawn, loss, negatives_why = negatives_of(situation)
    towers, towers_why = towers_of(situation, features.declared)
    optimizer, optimizer_why = optimizer_of(situation, features.declared)
    ends, ends_why = schedule_of(situation)
    data = {
        "source": source,
        "split": Because(split, split_why.why),
        "evaluate": Because(evaluate, evaluate_why.why),
        "batch_size": batch,
        **drawn,
        "query": _listed(features.declared, "query"),
        "candidate": _listed(features.declared, "candidate"),
    }
    model = {**towers, "loss": loss, "optimizer": optimizer}
    decisions = [
        *(task_decision(situation), *liked, split_why, evaluate_why, *features.decisions, *shown_decision(situation)),
        *(towers_why, *negatives_why, batch_why, optimizer_why, *ends_why),
    ]
    settings = {"seed_everything": 1, "data": data, "model": model, **ends}
    return Plan(profile=profile, uses=features.uses, decisions=decisions, settings=settings)


def plan_of_files(
    interactions: str,
    queries: str | None = None,
    candidates: str | None = None,
    task: Task | None = None,
    **parts: str | None,
) -> Plan:
    """Look at tables in files, and return the config that is good for them.

    Args:
        interactions: table of events.
        queries: table of queries.
        candidates: table of candidates, or a folder of pictures.
        task: what the model is for; None = it follows from the data.
        parts: columns that are named in place of those that would be found: ``query_id``, ``candidate_id``, ``time``,
            ``label``, ``positive``.

    Raises:
        UserError: whatever is wrong with the files; no id, nothing liked or nothing to learn from is found.
    """
    from dssm_lightning.inspection.tables import files_settings, profile_files

    profile = profile_files(interactions, queries, candidates, **parts)
    return make_plan(profile, files_settings(profile), task)


def _listed(features: Sequence[Declared], side: str) -> list[Any]:
    """Return the features of a side as the config lists them."""
    found: list[Any] = []
    for each in features:
        if each.side == side:
            given = dict(each.feature.get("init_args", {}))
            if given.get("column") == each.name:
                del given["column"]
            made = {**each.feature, "init_args": {"name": each.name, **given}}
            found.append(Because(made, each.why) if each.why else made)
    return found
