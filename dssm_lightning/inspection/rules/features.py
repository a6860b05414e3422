"""All features of both sides, with their encoders: one list, and what became of each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dssm_lightning.features.module_names import is_module_name
from dssm_lightning.inspection.rules.decisions import Declared, Features
from dssm_lightning.inspection.rules.recommender_features import recommender_features
from dssm_lightning.inspection.rules.search_features import search_features
from dssm_lightning.inspection.rules.situation import Situation


def features_of(situation: Situation) -> Features:
    """Return the features of both sides, each with a name of its own.

    Raises:
        UserError: nothing is known of a query.
    """
    found = recommender_features(situation) if situation.task == "recommend" else search_features(situation)
    return replace(found, declared=_named(found.declared))


def _named(features: Sequence[Declared]) -> list[Declared]:
    """Give each feature a name of its own that a module can have; what names a feature follows."""
    names: dict[int, str] = {}
    referred: dict[tuple[str, str], str] = {}
    order = sorted(range(len(features)), key=lambda place: (features[place].side, features[place].gives_way))
    for place in order:  # those of the candidate keep their names
        each, name = features[place], features[place].name
        while name in names.values() or is_module_name(name):
            name = f"{name}_of_{each.side}"
        names[place] = name
        referred.setdefault((each.side, each.name), name)
    return [_renamed(each, names[place], referred) for place, each in enumerate(features)]


def _renamed(each: Declared, name: str, names: Mapping[tuple[str, str], str]) -> Declared:
    given = dict(each.feature.get("init_args", {}))
    if "of" in given:
        given["of"] = names.get(("candidate", given["of"]), given["of"])
    tied = each.tied and names.get(("candidate", each.tied), names.get(("query", each.tied)))
    return replace(each, name=name, feature={**each.feature, "init_args": given}, tied=tied)
