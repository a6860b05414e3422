"""The search space of a config: what its own classes let a search change, and how far."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from dssm_lightning.training.tuning.dimension import Dimension
from dssm_lightning.training.tuning.negatives_space import count_of_negatives, samplers
from dssm_lightning.training.tuning.settings_tree import Place, at, leaves
from dssm_lightning.training.tuning.widths import hidden_dimensions, width_dimensions
from dssm_lightning.utils.errors import UserError, is_number
from dssm_lightning.utils.suggestions import did_you_mean

TOWERS = ("query_tower", "candidate_tower")
DROPOUTS = (0.0, 0.7)
DECAYS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3)
REPEATS = ("ignore", "count_log_q", "inclusion")
"""No correction, that of the in-batch candidates' popularity, and the one that stands for the whole corpus."""
SCALES = (5.0, 100.0)
"""Of cosines; a dot product without a length has its own scale."""
MARGINS = (0.05, 0.1, 0.2, 0.4, 0.8)
SMOOTHINGS = (0.0, 0.05, 0.1, 0.2)


class Corpus(NamedTuple):
    """What of the data decides what is worth a search.

    Example:
        >>> Corpus("film_id", 1682).size
        1682
    """

    id_column: str
    size: int


Rule = Callable[[Mapping[str, Any], Corpus, Place, Any], "Dimension | None"]
"""Settings, corpus, a place and its value -> what a search may do with it; None = nothing."""


def search_space(settings: Mapping[str, Any], corpus: Corpus, keep: Collection[str] = ()) -> list[Dimension]:
    """Return what a search may change, the most important first.

    Settings of one name and one value change together, on both sides: so widths that must be equal stay equal.

    Args:
        settings: the sections of a parsed config, with the defaults of its classes: no other setting exists.
        corpus: of its data.
        keep: names of what keeps the config's own value.

    Raises:
        UserError: ``keep`` names something that is not there; nothing is left to search.

    Example:
        >>> adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}
        >>> [each.name for each in search_space({"model": {"optimizer": adam}, "data": {}}, Corpus("id", 100))]
        ['lr']
    """
    found = _together(each for rule in RULES for each in _matches(rule, settings, corpus))
    whole = [*found, *width_dimensions(settings), *hidden_dimensions(settings), *samplers(settings, corpus.size)]
    space = sorted(_distinct(whole), key=lambda each: _ORDER.index(_base(each.name)))
    names = [each.name for each in space]
    for name in keep:
        if name not in names:
            raise UserError(
                f"--keep {name}: it is not searched; there are {', '.join(names)}{did_you_mean(name, names)}"
            )
    space = [each for each in space if each.name not in keep]
    if not space:
        raise UserError("nothing is left to search: the config's classes have no setting that tune knows" + _kept(keep))
    return space


def _kept(keep: Collection[str]) -> str:
    return f", but for --keep {' '.join(keep)}" if keep else ""


def _matches(rule: Rule, settings: Mapping[str, Any], corpus: Corpus) -> Iterator[Dimension]:
    for section in ("model", "data"):
        for place, value in leaves(settings.get(section), (section,)):
            found = rule(settings, corpus, place, value)
            if found is not None:
                yield found


def _together(found: Iterator[Dimension]) -> list[Dimension]:
    """Join dimensions of one name, one value and one range."""
    joined: dict[str, Dimension] = {}
    for each in found:
        key = json.dumps([each.name, each.own, each.low, each.high, each.choices])
        if each.name == "num_negatives":
            key += str(each.places)  # the parts of a mixture are of one size by chance
        before = joined.get(key)
        places = each.places if before is None else (*before.places, *each.places)
        joined[key] = _with(each, places=places)
    return list(joined.values())


def _distinct(space: list[Dimension]) -> list[Dimension]:
    """Number the names that occur more than once."""
    seen: dict[str, int] = {}
    named = []
    for each in space:
        seen[each.name] = number = seen.get(each.name, 0) + 1
        named.append(each if number == 1 else _with(each, name=f"{each.name}#{number}"))
    return named


def _with(dimension: Dimension, **changes: Any) -> Dimension:
    return Dimension(**{**vars(dimension), **changes})


# -- rules -------------------------------------------------------------------------------------------------------------


def _rate(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place[:2] != ("model", "optimizer") or place[-1] != "lr" or not is_number(value) or value <= 0:
        return None
    return Dimension("lr", (place,), value, "number", value / 10, value * 10, log=True)


def _weight_decay(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place[:2] != ("model", "optimizer") or place[-1] != "weight_decay" or not is_number(value):
        return None
    return _choice("weight_decay", place, float(value), DECAYS)


def _scale(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place != ("model", "scorer", "init_args", "logit_scale") or not is_number(value) or value <= 0:
        return None
    towers = [at(settings, ("model", tower, "init_args", "normalize"), True) for tower in TOWERS]
    low, high = SCALES if all(towers) else (value / 4, value * 4)
    scorer = at(settings, place[:-1])
    if scorer.get("learnable") and is_number(scorer.get("max_logit_scale")):
        high = min(high, scorer["max_logit_scale"])
    return Dimension("logit_scale", (place,), value, "number", min(low, value), max(high, value), log=True)


def _dropout(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    """Of a tower's layers, of its features where the config uses it, and within an encoder of several layers."""
    if place[0] != "model" or place[1] not in TOWERS or not is_number(value):
        return None
    name = str(place[-1])
    if len(place) == 4 and (name == "dropout" or (name == "feature_dropout" and value)):
        return _fraction(name, place, value)
    if len(place) > 4 and name == "dropout":
        return _fraction("encoder_dropout", place, value)
    return None


def _id_dropout(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    """Of the embeddings of the candidates' ids; categories of a few values have no use for it."""
    if place[0] != "model" or place[-1] != "id_dropout" or place[3] != "encoders":
        return None
    for feature in _features(settings, "candidate"):
        arguments = feature.get("init_args", {})
        if arguments.get("name") == place[4] and (arguments.get("column") or place[4]) == corpus.id_column:
            return _fraction("id_dropout", place, value)
    return None


def _history_dropout(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    """Of what is assembled from training rows; a feature that meets the other side directly needs each entry."""
    if place[0] != "data" or place[1] not in ("query", "candidate") or place[-1] != "dropout" or not is_number(value):
        return None
    name = at(settings, (*place[:-1], "name"))
    if name in (at(settings, ("model", f"{place[1]}_tower", "init_args", "bypass")) or []):
        return None
    return _fraction("history_dropout", place, value)


def _repeats(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place != ("model", "loss", "init_args", "repeats"):
        return None
    return _choice("repeats", place, value, REPEATS)


def _margin(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place != ("model", "loss", "init_args", "margin") or not is_number(value):
        return None
    return _choice("margin", place, value, [step * max(1.0, float(value)) for step in MARGINS])


def _smoothing(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    if place[:2] != ("model", "loss") or place[-1] not in ("smoothing", "label_smoothing") or not is_number(value):
        return None
    return _choice("smoothing", place, float(value), SMOOTHINGS)


def _negatives(settings: Mapping[str, Any], corpus: Corpus, place: Place, value: Any) -> Dimension | None:
    return count_of_negatives(place, value, corpus.size)


RULES: tuple[Rule, ...] = (
    *(_rate, _scale, _dropout, _history_dropout, _id_dropout),
    *(_negatives, _repeats, _margin, _smoothing, _weight_decay),
)
_ORDER = (
    *("lr", "logit_scale", "width", "dropout", "history_dropout", "sampler", "num_negatives", "repeats", "margin"),
    *("smoothing", "hidden", "id_dropout", "feature_dropout", "encoder_dropout", "weight_decay"),
)


def _base(name: str) -> str:
    return name.partition("#")[0]


def _fraction(name: str, place: Place, value: float) -> Dimension:
    return Dimension(name, (place,), value, "number", DROPOUTS[0], max(DROPOUTS[1], value))


def _choice(name: str, place: Place, value: Any, choices: Collection[Any]) -> Dimension:
    """Return a choice of which the config's own value is one."""
    return Dimension(name, (place,), value, "choice", choices=tuple(dict.fromkeys([value, *choices])))


def _features(settings: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    return [each for each in at(settings, ("data", side)) or [] if isinstance(each, dict)]
